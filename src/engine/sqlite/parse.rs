//! Reads the CREATE TABLE and CREATE INDEX texts that SQLite keeps, for what its pragmas do not
//! tell: names and texts of constraints, collations, direction, deferrability, predicates. Follows
//! SQLite's grammar (parse.y), which takes more than its manual draws. Knows no connection.

use crate::catalog::token::{self, Kind, Rules, Token, TokenError};
use crate::catalog::{Action, IndexPart, Name};

/// How SQLite cuts texts.
pub(super) const RULES: Rules = Rules {
    backticks: true,
    brackets: true,
    escapes: false,
    dollar_quotes: false,
    nested_comments: false,
    open_operators: false,
    named_params: true,
};

/// What the text of a table says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TableText {
    pub columns: Vec<ColumnText>,
    pub keys: Vec<KeyText>,
    /// Name (may be empty) and condition, in their order.
    pub checks: Vec<(String, String)>,
    pub foreign_keys: Vec<ForeignKeyText>,
    pub autoincrement: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ColumnText {
    pub name: String,
    pub collation: Option<String>,
    /// Expression, and whether it is stored.
    pub generated: Option<(String, bool)>,
    /// `ON CONFLICT` of its NOT NULL, where not ABORT.
    pub not_null_conflict: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeyText {
    pub name: String,
    pub primary: bool,
    /// Written behind its only column: there `DESC` keeps an integer key from being the row id.
    pub in_column: bool,
    pub parts: Vec<IndexPart>,
    pub conflict: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ForeignKeyText {
    pub name: String,
    pub columns: Vec<String>,
    pub parent: String,
    pub parent_columns: Vec<String>,
    pub on_delete: Action,
    pub on_update: Action,
    pub deferrable: bool,
    pub initially_deferred: bool,
}

/// What the text of an index says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct IndexText {
    pub parts: Vec<IndexPart>,
    pub predicate: Option<String>,
}

/// A text that SQLite took and this does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its definition is not understood at character {}: {what}", at + 1)]
pub(super) struct ParseError {
    at: usize,
    what: String,
}

impl From<TokenError> for ParseError {
    fn from(error: TokenError) -> Self {
        Self { at: error.at, what: error.what.to_string() }
    }
}

type Parsed<T> = Result<T, ParseError>;

/// Reads a CREATE TABLE text.
pub(super) fn table(sql: &str) -> Parsed<TableText> {
    let mut parser = Parser::new(sql)?;
    parser.expect("CREATE")?;
    let _ = parser.take("TEMP") || parser.take("TEMPORARY");
    parser.expect("TABLE")?;
    parser.name()?;
    if parser.take(".") {
        parser.name()?;
    }
    parser.expect("(")?;
    let mut text = TableText::default();
    while !parser.take(")") {
        if parser.at_table_constraint() {
            parser.table_constraint(&mut text)?;
        } else {
            parser.column(&mut text)?;
        }
        parser.take(",");
    }
    Ok(text)
}

/// Reads a CREATE INDEX text. `columns`: the table's, to tell them from expressions.
pub(super) fn index(sql: &str, columns: &[String]) -> Parsed<IndexText> {
    let mut parser = Parser::new(sql)?;
    parser.expect("CREATE")?;
    parser.take("UNIQUE");
    parser.expect("INDEX")?;
    parser.name()?;
    if parser.take(".") {
        parser.name()?;
    }
    parser.expect("ON")?;
    parser.name()?;
    let parts = parser.parts(columns)?;
    let predicate = match parser.take("WHERE") {
        true => Some(parser.text(parser.at, parser.tokens.len())),
        false => None,
    };
    Ok(IndexText { parts, predicate })
}

struct Parser<'a> {
    sql: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    comments: bool,
}

/// Words that end a column's type.
const COLUMN_WORDS: [&str; 11] = [
    "CONSTRAINT",
    "PRIMARY",
    "NOT",
    "NULL",
    "UNIQUE",
    "CHECK",
    "DEFAULT",
    "COLLATE",
    "REFERENCES",
    "GENERATED",
    "AS",
];

impl<'a> Parser<'a> {
    fn new(sql: &'a str) -> Parsed<Self> {
        let all = token::tokenize(sql, &RULES)?;
        let count = all.len();
        let tokens: Vec<_> = all.into_iter().filter(|token| token.kind != Kind::Comment).collect();
        let comments = tokens.len() < count;
        Ok(Self { sql, tokens, at: 0, comments })
    }

    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    /// True for a bare word or a mark.
    fn is(&self, offset: usize, what: &str) -> bool {
        self.tokens.get(self.at + offset).is_some_and(|token| token.is_word(what) || token.is(what))
    }

    fn take(&mut self, what: &str) -> bool {
        let found = self.is(0, what);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, what: &str) -> Parsed<()> {
        if self.take(what) { Ok(()) } else { self.fail(format!("{what} was expected")) }
    }

    fn fail<T>(&self, what: impl Into<String>) -> Parsed<T> {
        let at = self.peek().map_or(self.sql.len(), |token| token.start);
        Err(ParseError { at, what: what.into() })
    }

    /// A name in any of its spellings, strings included.
    fn name(&mut self) -> Parsed<String> {
        let name = self.peek().and_then(|token| token.name().or_else(|| token.string()));
        match name {
            Some(name) => {
                self.at += 1;
                Ok(name.into_owned())
            }
            None => self.fail("a name was expected"),
        }
    }

    /// The text from one token up to another, without comments.
    fn text(&self, from: usize, to: usize) -> String {
        let tokens = &self.tokens[from.min(to)..to];
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return String::new() };
        if self.comments {
            return tokens.iter().map(|token| token.text).collect::<Vec<_>>().join(" ");
        }
        self.sql[first.start..last.end()].to_string()
    }

    /// The text between parentheses, which are taken.
    fn parenthesised(&mut self) -> Parsed<String> {
        self.expect("(")?;
        let from = self.at;
        self.skip_to_close()?;
        Ok(self.text(from, self.at - 1))
    }

    /// Behind the parenthesis that closes one already opened.
    fn skip_to_close(&mut self) -> Parsed<()> {
        let mut depth = 1;
        while let Some(token) = self.peek() {
            depth += i32::from(token.is("(")) - i32::from(token.is(")"));
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        self.fail(") was expected")
    }

    fn at_table_constraint(&self) -> bool {
        let next = |word: &str| self.is(1, word);
        self.is(0, "CONSTRAINT")
            || (self.is(0, "PRIMARY") && next("KEY"))
            || (self.is(0, "UNIQUE") && next("("))
            || (self.is(0, "CHECK") && next("("))
            || (self.is(0, "FOREIGN") && next("KEY"))
    }

    fn column(&mut self, text: &mut TableText) -> Parsed<()> {
        let name = self.name()?;
        while let Some(token) = self.peek() {
            if token.is(",") || token.is(")") || COLUMN_WORDS.iter().any(|word| token.is_word(word)) {
                break;
            }
            self.at += 1;
            if self.tokens[self.at - 1].is("(") {
                self.skip_to_close()?;
            }
        }
        let mut column = ColumnText { name, ..ColumnText::default() };
        let mut constraint = String::new();
        while let Some(token) = self.peek() {
            if token.is(",") || token.is(")") {
                break;
            }
            if self.take("CONSTRAINT") {
                constraint = self.name()?;
                continue;
            }
            self.column_constraint(&mut column, std::mem::take(&mut constraint), text)?;
        }
        text.columns.push(column);
        Ok(())
    }

    fn column_constraint(
        &mut self,
        column: &mut ColumnText,
        name: String,
        text: &mut TableText,
    ) -> Parsed<()> {
        let own = |descending| {
            vec![IndexPart { column: Some(column.name.clone()), descending, ..IndexPart::default() }]
        };
        if self.take("PRIMARY") {
            self.expect("KEY")?;
            let descending = self.direction();
            let parts = own(descending);
            let conflict = self.conflict()?;
            text.autoincrement |= self.take("AUTOINCREMENT");
            text.keys.push(KeyText { name, primary: true, in_column: true, parts, conflict });
        } else if self.take("UNIQUE") {
            let parts = own(false);
            let conflict = self.conflict()?;
            text.keys.push(KeyText { name, primary: false, in_column: true, parts, conflict });
        } else if self.take("NOT") {
            self.expect("NULL")?;
            column.not_null_conflict = self.conflict()?;
        } else if self.take("NULL") {
            self.conflict()?;
        } else if self.take("CHECK") {
            text.checks.push((name, self.parenthesised()?));
            self.conflict()?;
        } else if self.take("DEFAULT") {
            self.default()?;
        } else if self.take("COLLATE") {
            column.collation = Some(self.name()?);
        } else if self.is(0, "REFERENCES") {
            let key = self.references(name, vec![column.name.clone()])?;
            text.foreign_keys.push(key);
        } else if self.is(0, "DEFERRABLE") || (self.is(0, "NOT") && self.is(1, "DEFERRABLE")) {
            let Some(key) = text.foreign_keys.last_mut() else {
                return self.fail("a reference was expected");
            };
            (key.deferrable, key.initially_deferred) = self.deferral();
        } else if self.is(0, "GENERATED") || self.is(0, "AS") {
            if self.take("GENERATED") {
                self.expect("ALWAYS")?;
            }
            self.expect("AS")?;
            let expression = self.parenthesised()?;
            let stored = self.take("STORED");
            self.take("VIRTUAL");
            column.generated = Some((expression, stored));
        } else {
            return self.fail("a column constraint was expected");
        }
        Ok(())
    }

    /// What follows DEFAULT; its text comes from the pragma.
    fn default(&mut self) -> Parsed<()> {
        if self.is(0, "(") {
            return self.parenthesised().map(drop);
        }
        let _ = self.take("+") || self.take("-");
        self.at += 1;
        Ok(())
    }

    fn direction(&mut self) -> bool {
        let descending = self.take("DESC");
        self.take("ASC");
        descending
    }

    fn conflict(&mut self) -> Parsed<Option<String>> {
        if !(self.is(0, "ON") && self.is(1, "CONFLICT")) {
            return Ok(None);
        }
        self.at += 2;
        let way = self.name()?.to_ascii_uppercase();
        Ok(Some(way).filter(|way| way != "ABORT"))
    }

    fn table_constraint(&mut self, text: &mut TableText) -> Parsed<()> {
        let mut name = String::new();
        if self.take("CONSTRAINT") {
            name = self.name()?;
        }
        if self.take("PRIMARY") {
            self.expect("KEY")?;
            let (parts, autoincrement) = self.key_parts()?;
            text.autoincrement |= autoincrement;
            let conflict = self.conflict()?;
            text.keys.push(KeyText { name, primary: true, in_column: false, parts, conflict });
        } else if self.take("UNIQUE") {
            let (parts, _) = self.key_parts()?;
            let conflict = self.conflict()?;
            text.keys.push(KeyText { name, primary: false, in_column: false, parts, conflict });
        } else if self.take("CHECK") {
            text.checks.push((name, self.parenthesised()?));
            self.conflict()?;
        } else if self.take("FOREIGN") {
            self.expect("KEY")?;
            let columns = self.names()?;
            let key = self.references(name, columns)?;
            text.foreign_keys.push(key);
        }
        Ok(())
    }

    fn key_parts(&mut self) -> Parsed<(Vec<IndexPart>, bool)> {
        self.expect("(")?;
        let (mut parts, mut autoincrement) = (Vec::new(), false);
        while !self.take(")") {
            let column = Some(self.name()?);
            let collation = match self.take("COLLATE") {
                true => Some(Name::new("main", self.name()?)),
                false => None,
            };
            let descending = self.direction();
            parts.push(IndexPart { column, collation, descending, ..IndexPart::default() });
            autoincrement |= self.take("AUTOINCREMENT");
            if !self.is(0, ")") {
                self.expect(",")?;
            }
        }
        Ok((parts, autoincrement))
    }

    fn names(&mut self) -> Parsed<Vec<String>> {
        Ok(self.key_parts()?.0.into_iter().filter_map(|part| part.column).collect())
    }

    fn references(&mut self, name: String, columns: Vec<String>) -> Parsed<ForeignKeyText> {
        self.expect("REFERENCES")?;
        let parent = self.name()?;
        let parent_columns = if self.is(0, "(") { self.names()? } else { Vec::new() };
        let mut key = ForeignKeyText { name, columns, parent, parent_columns, ..ForeignKeyText::default() };
        loop {
            if self.is(0, "ON") && (self.is(1, "DELETE") || self.is(1, "UPDATE")) {
                let delete = self.is(1, "DELETE");
                self.at += 2;
                let action = self.action()?;
                *(if delete { &mut key.on_delete } else { &mut key.on_update }) = action;
            } else if self.is(0, "ON") && self.is(1, "INSERT") {
                self.at += 2;
                self.action()?;
            } else if self.take("MATCH") {
                // Taken and ignored by SQLite, whatever it names.
                self.name()?;
            } else if self.is(0, "DEFERRABLE") || (self.is(0, "NOT") && self.is(1, "DEFERRABLE")) {
                (key.deferrable, key.initially_deferred) = self.deferral();
            } else {
                return Ok(key);
            }
        }
    }

    fn deferral(&mut self) -> (bool, bool) {
        let not = self.take("NOT");
        self.take("DEFERRABLE");
        let deferred = self.take("INITIALLY") && {
            let deferred = self.is(0, "DEFERRED");
            self.at += 1;
            deferred
        };
        (!not, deferred && !not)
    }

    fn action(&mut self) -> Parsed<Action> {
        let words = [
            ("CASCADE", None, Action::Cascade),
            ("RESTRICT", None, Action::Restrict),
            ("NO", Some("ACTION"), Action::NoAction),
            ("SET", Some("NULL"), Action::SetNull),
            ("SET", Some("DEFAULT"), Action::SetDefault),
        ];
        for (first, second, action) in words {
            if self.is(0, first) && second.is_none_or(|second| self.is(1, second)) {
                self.at += 1 + usize::from(second.is_some());
                return Ok(action);
            }
        }
        self.fail("an action was expected")
    }

    /// The parts of an index, in their parentheses.
    fn parts(&mut self, columns: &[String]) -> Parsed<Vec<IndexPart>> {
        self.expect("(")?;
        let mut parts = Vec::new();
        loop {
            let from = self.at;
            let mut depth = 0;
            while let Some(token) = self.peek() {
                if depth == 0 && (token.is(",") || token.is(")")) {
                    break;
                }
                depth += i32::from(token.is("(")) - i32::from(token.is(")"));
                self.at += 1;
            }
            parts.push(self.part(from, self.at, columns));
            if self.take(")") {
                return Ok(parts);
            }
            self.expect(",")?;
        }
    }

    fn part(&self, from: usize, mut to: usize, columns: &[String]) -> IndexPart {
        let word = |at: usize, word: &str| self.tokens[at].is_word(word);
        let mut part = IndexPart::default();
        if to > from + 1 && (word(to - 1, "ASC") || word(to - 1, "DESC")) {
            part.descending = word(to - 1, "DESC");
            to -= 1;
        }
        if to > from + 2 && word(to - 2, "COLLATE") {
            part.collation = self.tokens[to - 1].name().map(|name| Name::new("main", name));
            to -= 2;
        }
        let single = (to == from + 1).then(|| self.tokens[from]);
        let name = single.and_then(|token| token.name().or_else(|| token.string()));
        match name.and_then(|name| columns.iter().find(|column| column.eq_ignore_ascii_case(&name))) {
            Some(column) => part.column = Some(column.clone()),
            None => part.expression = Some(self.text(from, to)),
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_pragmas_do_not() {
        let text = table(
            "CREATE TABLE \"odd \"\"name\"\"\" ( id INTEGER /* key */ PRIMARY KEY AUTOINCREMENT, [a b] VARCHAR(10, 2) \
             CONSTRAINT nn NOT NULL ON CONFLICT IGNORE DEFAULT (1 + (2)) COLLATE NOCASE CHECK (length([a b]) > 0), \
             g AS (id * 2) STORED, `p` INT CONSTRAINT fk REFERENCES Parent(x) ON DELETE SET NULL ON UPDATE CASCADE \
             DEFERRABLE INITIALLY DEFERRED, u DEFAULT -1 UNIQUE ON CONFLICT REPLACE, \
             CONSTRAINT two UNIQUE (p, u COLLATE RTRIM DESC) CHECK (p <> u) \
             FOREIGN KEY (p, u) REFERENCES q MATCH FULL NOT DEFERRABLE) STRICT",
        )
        .expect("parsed");
        let names: Vec<_> = text.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "a b", "g", "p", "u"]);
        assert!(text.autoincrement);
        assert_eq!(text.columns[1].collation.as_deref(), Some("NOCASE"));
        assert_eq!(text.columns[1].not_null_conflict.as_deref(), Some("IGNORE"));
        assert_eq!(text.columns[2].generated, Some(("id * 2".into(), true)));
        assert_eq!(
            text.checks,
            [(String::new(), "length ( [a b] ) > 0".into()), (String::new(), "p <> u".into())]
        );
        let keys: Vec<_> =
            text.keys.iter().map(|key| (key.name.as_str(), key.primary, key.parts.len())).collect();
        assert_eq!(keys, [("", true, 1), ("", false, 1), ("two", false, 2)]);
        assert_eq!(text.keys[1].conflict.as_deref(), Some("REPLACE"));
        assert!(text.keys[2].parts[1].descending);
        let first = &text.foreign_keys[0];
        assert_eq!(
            (first.name.as_str(), first.on_delete, first.on_update),
            ("fk", Action::SetNull, Action::Cascade)
        );
        assert!(first.deferrable && first.initially_deferred);
        assert!(!text.foreign_keys[1].deferrable);
        assert!(text.foreign_keys[1].parent_columns.is_empty());
    }

    #[test]
    fn an_index_tells_columns_from_expressions() {
        let columns = ["a".to_string(), "B c".to_string()];
        let text = index(
            "CREATE UNIQUE INDEX i ON t(A COLLATE nocase DESC, [b C], lower(a || ','), (a)) WHERE a > 'x' AND \"B c\" IS NULL",
            &columns,
        )
        .expect("parsed");
        assert_eq!(text.parts[0].column.as_deref(), Some("a"));
        assert!(text.parts[0].descending && text.parts[0].collation.is_some());
        assert_eq!(text.parts[1].column.as_deref(), Some("B c"));
        assert_eq!(text.parts[2].expression.as_deref(), Some("lower(a || ',')"));
        assert_eq!(text.parts[3].expression.as_deref(), Some("(a)"));
        assert_eq!(text.predicate.as_deref(), Some("a > 'x' AND \"B c\" IS NULL"));
    }

    #[test]
    fn what_is_no_definition_is_an_error_with_its_place() {
        for text in ["CREATE TABLE t", "CREATE TABLE t(a CHECK (b)", "CREATE VIEW v AS SELECT 1"] {
            assert!(table(text).is_err(), "{text}");
        }
    }
}
