//! The subset of SQL expressions that means the same everywhere: what defaults, checks, index
//! predicates and expressions are translated through. What is not in it is refused, not guessed.
//! [`parse`] reads one in an engine's [`Syntax`], [`spell`] writes it; neither knows an engine.

mod literal;
mod normal;
mod parse;
mod settled;
mod spell;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::token::Rules;

pub use literal::{type_end, type_text};
pub use parse::{parse, parse_of};
pub use spell::spell;

/// A neutral expression. Comparisons of text are assumed to be by bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Column(String),
    Null,
    Bool(bool),
    /// A number as written, canonical: no leading zeros or plus sign; a minus sign where negative.
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
    /// Two values or more; `x in (1)` is an equality.
    In {
        of: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    /// Also what `a >= 1 and a <= 5` is read as; negated, what `a < 1 or a > 5` is.
    Between {
        of: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
    },
    /// Compares case; `%` and `_` match, a backslash takes them literally.
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

/// How an engine writes expressions: facts, of which each engine has one static value.
#[derive(Clone, Copy, Debug)]
pub struct Syntax {
    pub tokens: Rules,
    /// Quotes an identifier and a string.
    pub quote: fn(&str) -> String,
    pub literal: fn(&str) -> String,
    /// Names of columns compare without case; else bare ones fold to lower case.
    pub ignores_case: bool,
    /// A word in double quotes that names no column is a string (SQLite).
    pub quoted_may_be_text: bool,
    /// There are the literals `true` and `false`; else 1 and 0 are written.
    pub boolean_words: bool,
    pub bytes: BytesStyle,
    /// `||` binds tighter than `*` (SQLite); else looser than `+`.
    pub concat_binds_tight: bool,
    pub like: LikeStyle,
    /// What a literal of this native type is, as written after `::` or in `cast(x as type)`.
    pub cast: fn(&str) -> CastKind,
    /// Spellings of the statement time, lower case, without white space; the first of a kind is
    /// written. Only those that mean the same as the others of their kind.
    pub now: &'static [(&'static str, Now)],
    /// Native function names and the neutral ones they stand for; the first of a kind is written.
    pub functions: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytesStyle {
    /// `x'00ff'`
    Hex,
    /// `'\x00ff'::bytea`
    Bytea,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LikeStyle {
    /// `LIKE` compares case and has the backslash.
    CaseAndEscape,
    /// `LIKE` ignores the case of ASCII letters and has no escape; `GLOB` compares case (SQLite).
    Glob,
}

/// What a cast to a native type does to a literal or column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastKind {
    /// To text without limit: takes nothing away from text.
    Text,
    /// To text with a limit or padding: harmless for literals only.
    LimitedText,
    Integer,
    /// Any other number.
    Number,
    Bytes,
    Bool,
    /// A date or time, whose literals are canonical but for words such as `now` and `today`.
    Moment(Now),
    /// Another type whose literals are its canonical text form: uuid, json, enums.
    Canonical,
    /// Anything else: not neutral.
    Other,
}

impl Op {
    /// The spelling that all engines share.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "<>",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Concat => "||",
        }
    }

    pub fn compares(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }
}

impl Expr {
    pub fn binary(op: Op, left: Expr, right: Expr) -> Self {
        Self::Binary { op, left: Box::new(left), right: Box::new(right) }
    }

    /// Names of all columns in it.
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        let mut rest = vec![self];
        while let Some(expr) = rest.pop() {
            if let Self::Column(name) = expr {
                names.insert(name.as_str());
            }
            rest.extend(expr.parts());
        }
        names
    }

    /// The same expression with its columns renamed.
    pub fn rename(&mut self, name: &dyn Fn(&str) -> Option<String>) {
        if let Self::Column(column) = self
            && let Some(new) = name(column)
        {
            *column = new;
        }
        for part in self.parts_mut() {
            part.rename(name);
        }
    }

    /// The expressions it is made of directly.
    pub fn parts(&self) -> Vec<&Expr> {
        match self {
            Self::Column(_) | Self::Null | Self::Bool(_) | Self::Number(_) => Vec::new(),
            Self::Text(_) | Self::Bytes(_) | Self::Now(_) => Vec::new(),
            Self::Not(of) | Self::Negate(of) | Self::IsNull { of, .. } => vec![of.as_ref()],
            Self::And(all) | Self::Or(all) | Self::Call { args: all, .. } => all.iter().collect(),
            Self::Binary { left, right, .. } => vec![left, right],
            Self::In { of, list, .. } => std::iter::once(of.as_ref()).chain(list).collect(),
            Self::Between { of, low, high, .. } => vec![of, low, high],
            Self::Like { of, pattern, .. } => vec![of, pattern],
        }
    }

    fn parts_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Self::Column(_) | Self::Null | Self::Bool(_) | Self::Number(_) => Vec::new(),
            Self::Text(_) | Self::Bytes(_) | Self::Now(_) => Vec::new(),
            Self::Not(of) | Self::Negate(of) | Self::IsNull { of, .. } => vec![of.as_mut()],
            Self::And(all) | Self::Or(all) | Self::Call { args: all, .. } => all.iter_mut().collect(),
            Self::Binary { left, right, .. } => vec![left, right],
            Self::In { of, list, .. } => std::iter::once(of.as_mut()).chain(list).collect(),
            Self::Between { of, low, high, .. } => vec![of, low, high],
            Self::Like { of, pattern, .. } => vec![of, pattern],
        }
    }
}
