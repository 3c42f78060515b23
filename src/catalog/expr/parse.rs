//! Reads an expression into the neutral subset. Texts of equal meaning, as different engines
//! print them, become equal trees; what may mean something else elsewhere becomes nothing.

use super::literal::{cast_text, is_integer, number, type_end, type_text};
use super::normal::{among, and, between, from_glob, is_null, like, negate, normal_pattern, not, or};
use super::{CastKind, Expr, LikeStyle, Now, Op, Syntax};
use crate::catalog::token::{self, Kind, Token};
use crate::catalog::{Table, Type};

/// Nesting that is followed; deeper trees are not translated.
const DEPTH_MAX: usize = 200;

/// Operators in chains such as `a + b + c`, which nest as well, in the whole text.
const LINKS_MAX: usize = 500;

/// Words that stand for a value or open a construct, and are never a bare column name.
const NOT_COLUMNS: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "between",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "desc",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "from",
    "glob",
    "group",
    "having",
    "in",
    "intersect",
    "is",
    "isnull",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "notnull",
    "null",
    "on",
    "or",
    "order",
    "raise",
    "row",
    "select",
    "session_user",
    "some",
    "system_user",
    "then",
    "union",
    "user",
    "using",
    "when",
    "where",
    "window",
];

/// Reads a text without knowing the table: a cast of a column to text is taken to be harmless,
/// and a name in double quotes is refused where it might be a string.
pub fn parse(text: &str, syntax: &Syntax) -> Option<Expr> {
    read(text, syntax, None)
}

/// Reads a text that belongs to a table (an empty one for defaults, which see no column): names
/// must be its columns, and casts and arithmetic must suit their types.
pub fn parse_of(text: &str, syntax: &Syntax, table: &Table) -> Option<Expr> {
    read(text, syntax, Some(table))
}

fn read(text: &str, syntax: &Syntax, table: Option<&Table>) -> Option<Expr> {
    let mut tokens = token::tokenize(text, &syntax.tokens).ok()?;
    tokens.retain(|token| token.kind != Kind::Comment);
    let mut parser = Parser { tokens: &tokens, at: 0, depth: DEPTH_MAX, links: LINKS_MAX, syntax, table };
    let expr = parser.any()?;
    (parser.at == tokens.len()).then_some(expr)
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// What is left of [`DEPTH_MAX`] and [`LINKS_MAX`].
    depth: usize,
    links: usize,
    syntax: &'a Syntax,
    table: Option<&'a Table>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn ahead(&self, by: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + by).copied()
    }

    fn take(&mut self, mark: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(mark));
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_word(word));
        self.at += usize::from(found);
        found
    }

    fn deeper(&mut self, by: usize) -> Option<()> {
        self.depth = self.depth.checked_sub(by)?;
        Some(())
    }

    fn any(&mut self) -> Option<Expr> {
        self.deeper(1)?;
        let mut all = vec![self.all()?];
        while self.take_word("or") {
            all.push(self.all()?);
        }
        self.depth += 1;
        Some(or(all))
    }

    fn all(&mut self) -> Option<Expr> {
        let mut all = vec![self.negation()?];
        while self.take_word("and") {
            all.push(self.negation()?);
        }
        Some(and(all))
    }

    fn negation(&mut self) -> Option<Expr> {
        let mut times = 0;
        while self.take_word("not") {
            self.deeper(1)?;
            times += 1;
        }
        let mut expr = self.comparison()?;
        self.depth += times;
        for _ in 0..times {
            expr = not(expr);
        }
        Some(expr)
    }

    fn comparison(&mut self) -> Option<Expr> {
        let left = self.value()?;
        let Some(next) = self.peek() else { return Some(left) };
        if next.kind == Kind::Op {
            return self.operator(left, next);
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            return self.take_word("null").then(|| is_null(left, negated));
        }
        if self.take_word("isnull") {
            return Some(is_null(left, false));
        }
        if self.take_word("notnull") {
            return Some(is_null(left, true));
        }
        let negated = self.take_word("not");
        if self.take_word("in") {
            return self.list(left, negated);
        }
        if self.take_word("between") {
            let low = self.value()?;
            let high = self.take_word("and").then(|| self.value())??;
            return Some(between(left, low, high, negated));
        }
        if self.take_word("like") {
            let pattern = self.value()?;
            return self.like(left, pattern, negated);
        }
        if self.take_word("glob") && self.syntax.like == LikeStyle::Glob {
            let Expr::Text(pattern) = self.value()? else { return None };
            return Some(like(left, Expr::Text(from_glob(&pattern)?), negated));
        }
        if negated { self.take_word("null").then(|| is_null(left, true)) } else { Some(left) }
    }

    fn operator(&mut self, left: Expr, sign: Token<'_>) -> Option<Expr> {
        let op = match sign.text {
            "=" | "==" => Op::Eq,
            "<>" | "!=" => Op::Ne,
            "<" => Op::Lt,
            "<=" => Op::Le,
            ">" => Op::Gt,
            ">=" => Op::Ge,
            "~~" | "!~~" if self.syntax.like == LikeStyle::CaseAndEscape => {
                self.at += 1;
                let pattern = self.value()?;
                return self.like(left, pattern, sign.text == "!~~");
            }
            _ => return None,
        };
        self.at += 1;
        match (op, self.peek()?) {
            (Op::Eq, word) if word.is_word("any") => self.array(left, false),
            (Op::Ne, word) if word.is_word("all") => self.array(left, true),
            _ => Some(Expr::binary(op, left, self.value()?)),
        }
    }

    /// `ANY (ARRAY[a, b])` and `ANY ((ARRAY[a, b])::text[])`, as PostgreSQL prints lists.
    fn array(&mut self, of: Expr, negated: bool) -> Option<Expr> {
        self.at += 1;
        let mut open = 0;
        while self.take("(") {
            open += 1;
        }
        if open == 0 || !self.take_word("array") || !self.take("[") {
            return None;
        }
        let list = self.values("]")?;
        while open > 0 {
            if self.take("::") {
                self.array_cast()?;
            } else if self.take(")") {
                open -= 1;
            } else {
                return None;
            }
        }
        among(of, list, negated)
    }

    /// A cast of a whole list to text: its members are text already.
    fn array_cast(&mut self) -> Option<()> {
        let native = self.type_name()?;
        let kind = (self.syntax.cast)(native.strip_suffix("[]")?);
        matches!(kind, CastKind::Text | CastKind::Canonical).then_some(())
    }

    fn list(&mut self, of: Expr, negated: bool) -> Option<Expr> {
        let list = self.take("(").then(|| self.values(")"))??;
        among(of, list, negated)
    }

    /// Values up to the closing mark, which is taken.
    fn values(&mut self, close: &str) -> Option<Vec<Expr>> {
        let mut all = Vec::new();
        if self.take(close) {
            return Some(all);
        }
        loop {
            all.push(self.any()?);
            if self.take(close) {
                return Some(all);
            }
            if !self.take(",") {
                return None;
            }
        }
    }

    fn like(&mut self, of: Expr, pattern: Expr, negated: bool) -> Option<Expr> {
        if self.peek().is_some_and(|token| token.is_word("escape")) {
            return None;
        }
        let pattern = match (self.syntax.like, pattern) {
            (LikeStyle::CaseAndEscape, Expr::Text(text)) => Expr::Text(normal_pattern(&text)?),
            (LikeStyle::CaseAndEscape, other) => other,
            // Without letters it does not matter that case is ignored.
            (LikeStyle::Glob, Expr::Text(text)) if !text.contains(|c: char| c.is_ascii_alphabetic()) => {
                Expr::Text(text.replace('\\', "\\\\"))
            }
            (LikeStyle::Glob, _) => return None,
        };
        Some(like(of, pattern, negated))
    }

    fn value(&mut self) -> Option<Expr> {
        match self.syntax.concat_binds_tight {
            true => self.sum(),
            false => self.chain(&[Op::Concat], Self::sum),
        }
    }

    fn sum(&mut self) -> Option<Expr> {
        self.chain(&[Op::Add, Op::Sub], Self::product)
    }

    fn product(&mut self) -> Option<Expr> {
        match self.syntax.concat_binds_tight {
            true => self.chain(&[Op::Mul, Op::Div, Op::Mod], |it| it.chain(&[Op::Concat], Self::sign)),
            false => self.chain(&[Op::Mul, Op::Div, Op::Mod], Self::sign),
        }
    }

    /// Operators of one level, joined from the left.
    fn chain(&mut self, ops: &[Op], next: fn(&mut Self) -> Option<Expr>) -> Option<Expr> {
        let mut left = next(self)?;
        while let Some(token) = self.peek()
            && let Some(op) = ops.iter().find(|op| token.is(op.sign()))
        {
            self.links = self.links.checked_sub(1)?;
            self.at += 1;
            let right = next(self)?;
            if !self.suits(*op, &left) || !self.suits(*op, &right) {
                return None;
            }
            left = Expr::binary(*op, left, right);
        }
        Some(left)
    }

    fn sign(&mut self) -> Option<Expr> {
        if self.take("-") {
            self.deeper(1)?;
            let of = self.sign()?;
            self.depth += 1;
            return self.suits(Op::Sub, &of).then(|| negate(of));
        }
        if self.take("+") {
            self.deeper(1)?;
            let of = self.sign()?;
            self.depth += 1;
            return self.suits(Op::Add, &of).then_some(of);
        }
        let mut expr = self.atom()?;
        while self.take("::") {
            let native = self.type_name()?;
            expr = self.cast(expr, &native)?;
        }
        Some(expr)
    }

    fn atom(&mut self) -> Option<Expr> {
        let token = self.peek()?;
        match token.kind {
            Kind::Punct if token.is("(") => {
                self.at += 1;
                let inner = self.any()?;
                self.take(")").then_some(inner)
            }
            Kind::Word => self.word(token),
            Kind::Number => self.taken(number(token.text)?),
            Kind::Text => self.taken(Expr::Text(token.string()?.into_owned())),
            Kind::Hex if self.syntax.bytes == super::BytesStyle::Hex => {
                self.taken(Expr::Bytes(token.bytes()?))
            }
            Kind::Quoted => {
                let expr = self.quoted(token)?;
                self.taken(expr)
            }
            _ => None,
        }
    }

    fn taken(&mut self, expr: Expr) -> Option<Expr> {
        self.at += 1;
        Some(expr)
    }

    fn word(&mut self, word: Token<'a>) -> Option<Expr> {
        if let Some(now) = self.now() {
            return Some(Expr::Now(now));
        }
        if self.ahead(1).is_some_and(|next| next.is("(")) {
            self.at += 2;
            return match word.is_word("cast") {
                true => self.cast_call(),
                false => self.call(&word.text.to_ascii_lowercase()),
            };
        }
        for (name, value) in [("null", Expr::Null), ("true", Expr::Bool(true)), ("false", Expr::Bool(false))]
        {
            if word.is_word(name) {
                return self.taken(value);
            }
        }
        let folded = word.text.to_ascii_lowercase();
        if NOT_COLUMNS.contains(&folded.as_str()) || self.ahead(1).is_some_and(|next| next.is(".")) {
            return None;
        }
        let column = match (self.table, self.syntax.ignores_case) {
            (Some(_), _) => self.column(if self.syntax.ignores_case { word.text } else { &folded })?,
            (None, true) => word.text.to_string(),
            (None, false) => folded,
        };
        self.taken(Expr::Column(column))
    }

    /// The table's own spelling of a column.
    fn column(&self, name: &str) -> Option<String> {
        let columns = &self.table?.columns;
        let same = |column: &str| match self.syntax.ignores_case {
            true => column.eq_ignore_ascii_case(name),
            false => column == name,
        };
        columns.iter().find(|column| same(&column.name)).map(|column| column.name.clone())
    }

    fn quoted(&self, token: Token<'a>) -> Option<Expr> {
        let name = token.name()?.into_owned();
        if self.ahead(1).is_some_and(|next| next.is(".") || next.is("(")) {
            return None;
        }
        let may_be_text = self.syntax.quoted_may_be_text && token.text.starts_with('"');
        match (self.table, may_be_text) {
            (None, true) => None,
            (None, false) => Some(Expr::Column(name)),
            (Some(_), _) => match self.column(&name) {
                Some(column) => Some(Expr::Column(column)),
                None => may_be_text.then_some(Expr::Text(name)),
            },
        }
    }

    /// One of the syntax's spellings of the present moment, in the longest form that fits.
    fn now(&mut self) -> Option<Now> {
        let longest = 12.min(self.tokens.len() - self.at);
        for length in (1..=longest).rev() {
            let here = &self.tokens[self.at..self.at + length];
            let text: String = here.iter().map(|token| token.text).collect();
            let known = self.syntax.now.iter().find(|(spelling, _)| text.eq_ignore_ascii_case(spelling));
            if let Some((_, now)) = known {
                self.at += length;
                return Some(*now);
            }
        }
        None
    }

    /// Behind `CAST (`.
    fn cast_call(&mut self) -> Option<Expr> {
        let of = self.any()?;
        let native = self.take_word("as").then(|| self.type_name())??;
        self.take(")").then(|| self.cast(of, &native))?
    }

    /// Behind `name (`.
    fn call(&mut self, native: &str) -> Option<Expr> {
        let known = self.syntax.functions.iter().find(|(name, _)| *name == native);
        let name = known.map(|(_, neutral)| *neutral)?;
        if name == "trim" && self.take_word("both") && !self.take_word("from") {
            return None;
        }
        let args = self.values(")")?;
        let fits = match name {
            "coalesce" => args.len() >= 2,
            "nullif" => args.len() == 2,
            "round" => matches!(args.len(), 1 | 2),
            _ => args.len() == 1,
        };
        fits.then(|| Expr::Call { name: name.to_string(), args })
    }

    /// A type's name behind `::` or `AS`, in normal spacing.
    fn type_name(&mut self) -> Option<String> {
        let end = type_end(self.tokens, self.at)?;
        let name = type_text(&self.tokens[self.at..end]);
        self.at = end;
        Some(name)
    }

    fn cast(&self, of: Expr, native: &str) -> Option<Expr> {
        let kind = (self.syntax.cast)(native);
        match (of, kind) {
            (Expr::Null, _) => Some(Expr::Null),
            (Expr::Text(text), kind) => cast_text(text, kind),
            (number @ Expr::Number(_), CastKind::Number) => Some(number),
            (Expr::Number(digits), CastKind::Integer) if is_integer(&digits) => Some(Expr::Number(digits)),
            (value @ Expr::Bool(_), CastKind::Bool) => Some(value),
            (Expr::Now(_), CastKind::Moment(now)) => Some(Expr::Now(now)),
            (Expr::Column(name), kind) => self.keeps(&name, kind).then_some(Expr::Column(name)),
            (of @ Expr::Binary { op: Op::Concat, .. }, CastKind::Text) => Some(of),
            (Expr::Call { name, args }, CastKind::Text)
                if matches!(name.as_str(), "lower" | "upper" | "trim") =>
            {
                Some(Expr::Call { name, args })
            }
            (of, CastKind::Number | CastKind::Integer) if self.counts(&of) => Some(of),
            _ => None,
        }
    }

    /// True where a cast takes nothing away from a column's values.
    fn keeps(&self, column: &str, kind: CastKind) -> bool {
        let Some(table) = self.table else { return kind == CastKind::Text };
        let Some(column) = table.column(column) else { return false };
        match kind {
            CastKind::Text => matches!(
                column.ty,
                Type::Text | Type::VarChar { .. } | Type::Char { .. } | Type::Enum { .. } | Type::Uuid
            ),
            CastKind::Integer => matches!(column.ty, Type::Int { .. } | Type::Bool),
            CastKind::Number => {
                matches!(column.ty, Type::Int { .. } | Type::Decimal { .. } | Type::Float { .. })
            }
            CastKind::Bool => column.ty == Type::Bool,
            _ => false,
        }
    }

    /// True for what is an integer by its form.
    fn counts(&self, of: &Expr) -> bool {
        matches!(of, Expr::Call { name, .. } if name == "length")
    }

    /// Whether an operand means the same to an operator everywhere.
    fn suits(&self, op: Op, operand: &Expr) -> bool {
        let column = |name: &str| self.table.and_then(|table| table.column(name)).map(|column| &column.ty);
        match (op, operand) {
            (_, Expr::Binary { op: inner, .. }) => {
                !inner.compares() && (*inner == Op::Concat) == (op == Op::Concat)
            }
            (Op::Concat, Expr::Column(name)) => column(name).is_none_or(|ty| {
                matches!(ty, Type::Text | Type::VarChar { .. } | Type::Enum { .. } | Type::Int { .. })
            }),
            (Op::Concat, Expr::Text(_) | Expr::Number(_) | Expr::Call { .. }) => true,
            (Op::Concat, _) => false,
            (Op::Div | Op::Mod, Expr::Column(name)) => {
                column(name).is_none_or(|ty| matches!(ty, Type::Int { .. } | Type::Float { .. }))
            }
            (_, Expr::Column(name)) => column(name).is_none_or(|ty| {
                matches!(ty, Type::Int { .. } | Type::UInt { .. } | Type::Decimal { .. } | Type::Float { .. })
            }),
            (_, Expr::Number(_) | Expr::Call { .. } | Expr::Negate(_)) => true,
            _ => false,
        }
    }
}
