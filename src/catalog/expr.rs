//! The subset of SQL expressions that means the same everywhere: what defaults, checks, index
//! predicates and expressions are translated through. What is not in it is refused, not guessed.

/// A neutral expression. Comparisons of text are assumed to be by bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Column(String),
    Null,
    Bool(bool),
    /// A number as written, canonical: no leading zeros or plus sign.
    Number(String),
    Text(String),
    /// Bytes literal.
    Bytes(Vec<u8>),
    /// Statement time.
    Now(Now),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// All or any of two or more, flattened.
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Binary {
        op: Op,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    IsNull {
        of: Box<Expr>,
        negated: bool,
    },
    In {
        of: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    Between {
        of: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
    },
    Like {
        of: Box<Expr>,
        pattern: Box<Expr>,
        negated: bool,
    },
    /// A function all engines have with one meaning: `lower`, `upper`, `length`, `abs`,
    /// `coalesce`, `trim`, `nullif`, `round`.
    Call {
        name: String,
        args: Vec<Expr>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// Date and time, with the zone where the type has one.
    Timestamp,
    Date,
    Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Concat,
}
