//! Statements in the log: the borders of transactions, structure that changes, and what was logged
//! as a statement although rows are wanted. Read only as far as it takes to see which followed
//! table is concerned; in doubt it is.

use super::charset::Charset;
use super::relation::Input;
use crate::catalog::Name;

/// What a statement means to whoever follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Begin,
    Commit,
    Rollback,
    /// Back to a savepoint.
    PartialRollback,
    /// The prepared transaction that ends, commits or is rolled back, as the log names it.
    XaEnd(String),
    XaCommit(String),
    XaRollback(String),
    /// Tables that were emptied.
    Truncate(usize),
    /// Structure of this table changed.
    Structure(usize),
    /// Rows of this table may have changed, by a statement; none: those of any, through a trigger, a view
    /// or a routine.
    Rows(Option<usize>),
    /// Nothing that matters.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A key word or a name; `quoted`: a name for sure.
    Word {
        text: String,
        quoted: bool,
    },
    Literal(String),
    Mark(char),
}

/// A statement as its event tells it.
pub(super) struct Logged<'a> {
    /// The database that it ran in.
    pub schema: &'a [u8],
    pub text: &'a [u8],
    /// The block of status variables.
    variables: &'a [u8],
}

impl<'a> Logged<'a> {
    /// The body of a query event (MySQL internals, Query_log_event).
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut input = Input(body);
        let (_thread, _seconds) = (input.number(4)?, input.number(4)?);
        let length = input.number(1)? as usize;
        let _error = input.number(2)?;
        let variables = input.number(2)? as usize;
        let variables = input.take(variables)?;
        let schema = input.take(length)?;
        input.take(1)?;
        Some(Self { schema, text: input.0, variables })
    }

    /// Whether it is known that it wrote to no database of these tables, through whatever it did so:
    /// MySQL lists the databases, with those of triggers, views and routines.
    pub fn is_elsewhere(&self, tables: &[Name]) -> bool {
        let Some(written) = self.written() else { return false };
        let holds = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            name.is_empty() || tables.iter().any(|table| same(&table.schema, &name))
        };
        !written.into_iter().any(holds)
    }

    /// Classifies the text of it, which names tables in the character set of the client. Of one that is not
    /// read here, whatever may name a followed table does.
    pub fn said(&self, text: &[u8], tables: &[Name], folds: bool) -> Said {
        let schema = String::from_utf8_lossy(self.schema);
        let said = |text: &str| classify(text, &schema, tables, folds);
        let plain = said(&String::from_utf8_lossy(text));
        if plain != Said::Other || text.is_ascii() {
            return plain;
        }
        match self.client() {
            Some(Charset::Utf8) => plain,
            Some(charset) => {
                let mut other = Vec::new();
                match charset.put(text, &mut other) {
                    Ok(()) => said(&String::from_utf8_lossy(&other)),
                    Err(_) => doubted(text, &schema, tables),
                }
            }
            None => doubted(text, &schema, tables),
        }
    }

    /// The client's character set, by the number of its collation.
    fn client(&self) -> Option<Charset> {
        let number = self.variable(4)?.number(2)?;
        // MariaDB has each with and without PAD.
        match if (1024..2048).contains(&number) { number - 1024 } else { number } {
            33 | 45 | 46 | 76 | 83 | 192..=247 | 254..=323 | 576..=579 | 608..=611 | 2048..=2559 => {
                Some(Charset::Utf8)
            }
            11 | 65 => Some(Charset::Utf8),
            5 | 8 | 15 | 31 | 47 | 48 | 49 | 94 => Some(Charset::Latin1),
            _ => None,
        }
    }

    /// The databases that it wrote to; none where the server does not say.
    fn written(&self) -> Option<Vec<&'a [u8]>> {
        let mut input = self.variable(12)?;
        // Another number says that there are more of them than it lists.
        let count = input.number(1)?;
        (1..=16).contains(&count).then(|| (0..count).map(|_| ended(&mut input)).collect())?
    }

    /// What begins with the variable of this code; none where it is not told.
    fn variable(&self, wanted: u64) -> Option<Input<'a>> {
        let mut input = Input(self.variables);
        while !input.0.is_empty() {
            match input.number(1)? {
                code if code == wanted => return Some(input),
                0 | 3 => input.take(4)?,
                1 | 9 => input.take(8)?,
                4 => input.take(6)?,
                7 | 8 => input.take(2)?,
                5 | 6 => counted(&mut input)?,
                11 => counted(&mut input).and_then(|_| counted(&mut input))?,
                _ => return None,
            };
        }
        None
    }
}

/// Bytes after their number.
fn counted<'a>(input: &mut Input<'a>) -> Option<&'a [u8]> {
    let length = input.number(1)? as usize;
    input.take(length)
}

/// Bytes up to a zero.
fn ended<'a>(input: &mut Input<'a>) -> Option<&'a [u8]> {
    let length = input.0.iter().position(|byte| *byte == 0)?;
    let found = input.take(length)?;
    input.take(1)?;
    Some(found)
}

/// A statement whose names cannot be read: one that makes, changes or empties tables or databases is taken
/// for one about a followed table that it may name.
fn doubted(text: &[u8], schema: &str, tables: &[Name]) -> Said {
    let lossy = String::from_utf8_lossy(text);
    let statement = Statement { tokens: tokens(&lossy), schema: "", tables, folds: true };
    let kind = |at| matches!(statement.word(at).as_str(), "TABLE" | "TABLES" | "DATABASE" | "SCHEMA");
    let changes = match statement.word(0).as_str() {
        "TRUNCATE" => true,
        "CREATE" | "ALTER" | "DROP" | "RENAME" => (1..6).any(kind),
        _ => false,
    };
    let lower = lossy.to_lowercase();
    let named = |name: &str| !name.is_ascii() || has_word(&lower, &name.to_lowercase());
    let may_be = |table: &Name| (same(&table.schema, schema) || named(&table.schema)) && named(&table.name);
    tables.iter().position(may_be).filter(|_| changes).map_or(Said::Other, Said::Structure)
}

/// Whether a text holds a word, which may be parted from others by what is no letter of ASCII.
fn has_word(text: &str, word: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(letter) && !text[at + word.len()..].starts_with(letter))
}

/// Classifies a statement that ran in the database `schema`; `folds`: names of tables are the same in any
/// case.
fn classify(text: &str, schema: &str, tables: &[Name], folds: bool) -> Said {
    let mut statement = Statement { tokens: tokens(text), schema, tables, folds };
    statement.strip_settings();
    let word = |at| statement.word(at);
    match word(0).as_str() {
        "BEGIN" => Said::Begin,
        "START" if word(1) == "TRANSACTION" => Said::Begin,
        "COMMIT" => Said::Commit,
        "ROLLBACK" => match statement.tokens.len() > 1 && statement.tokens[1] != Token::Mark(';') {
            true => Said::PartialRollback,
            false => Said::Rollback,
        },
        "SAVEPOINT" | "RELEASE" => Said::Other,
        "XA" => match word(1).as_str() {
            "START" | "BEGIN" => Said::Begin,
            "END" => Said::XaEnd(statement.rest(2)),
            "COMMIT" => Said::XaCommit(statement.rest(2)),
            "ROLLBACK" => Said::XaRollback(statement.rest(2)),
            _ => Said::Other,
        },
        "TRUNCATE" => {
            let at = if word(1) == "TABLE" { 2 } else { 1 };
            statement.named(at).map_or(Said::Other, Said::Truncate)
        }
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "DO" | "WITH" | "MERGE" | "SELECT" => {
            match statement.mentioned(1) {
                None if statement.is_of_the_server() => Said::Other,
                table => Said::Rows(table),
            }
        }
        // MariaDB runs what it is to analyze.
        "ANALYZE" if !matches!(word(1).as_str(), "TABLE" | "TABLES" | "LOCAL" | "NO_WRITE_TO_BINLOG") => {
            Said::Rows(statement.mentioned(1))
        }
        "CREATE" | "ALTER" | "DROP" | "RENAME" => statement.structure(),
        "GRANT" | "REVOKE" | "SET" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK" => Said::Other,
        _ => statement.mentioned(0).map_or(Said::Other, Said::Structure),
    }
}

struct Statement<'a> {
    tokens: Vec<Token>,
    schema: &'a str,
    tables: &'a [Name],
    folds: bool,
}

/// Objects whose structure changes without any row image changing.
const HARMLESS: [&str; 15] = [
    "INDEX",
    "VIEW",
    "TRIGGER",
    "PROCEDURE",
    "FUNCTION",
    "EVENT",
    "USER",
    "ROLE",
    "SERVER",
    "SEQUENCE",
    "PACKAGE",
    "TABLESPACE",
    "LOGFILE",
    "AGGREGATE",
    "INSTANCE",
];

/// Words between the verb and the kind of object.
const BETWEEN: [&str; 14] = [
    "OR",
    "REPLACE",
    "UNIQUE",
    "FULLTEXT",
    "SPATIAL",
    "ONLINE",
    "OFFLINE",
    "IGNORE",
    "ALGORITHM",
    "UNDEFINED",
    "MERGE",
    "TEMPTABLE",
    "SQL",
    "SECURITY",
];

/// Words between the verb and the table that it writes to.
const MODIFIERS: [&str; 7] = ["LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "INTO", "FROM"];

/// What may follow the one table that a statement writes to.
const AFTER_ONE: [&str; 4] = ["VALUES", "VALUE", "SET", "WHERE"];

/// Words before a parenthesis that call nothing of a user's.
const CALL_NOTHING: [&str; 8] =
    ["VALUES", "VALUE", "IN", "AND", "NOW", "SYSDATE", "CURRENT_TIMESTAMP", "UNIX_TIMESTAMP"];

impl Statement<'_> {
    /// Takes off what MariaDB sets for one statement: SET STATEMENT ... FOR.
    fn strip_settings(&mut self) {
        while self.word(0) == "SET" && self.word(1) == "STATEMENT" {
            let end = (2..self.tokens.len()).find(|at| self.word(*at) == "FOR");
            self.tokens.drain(..end.map_or(2, |end| end + 1));
        }
    }

    /// Whether all that it writes to is one table of the server's own, which no trigger is on, and it reads
    /// nothing that could call a routine: so managed servers log their pulse.
    fn is_of_the_server(&self) -> bool {
        let mut at = 1;
        while MODIFIERS.contains(&self.word(at).as_str()) {
            at += 1;
        }
        let (schema, after) = match self.dotted(at + 1) {
            true => (self.name(at), at + 3),
            false => (Some(self.schema), at + 1),
        };
        let open = |at: usize| self.tokens.get(at) == Some(&Token::Mark('('));
        let writes = matches!(self.word(0).as_str(), "INSERT" | "UPDATE" | "DELETE" | "REPLACE");
        let alone =
            open(after) || AFTER_ONE.contains(&self.word(after).as_str()) || self.tokens.len() == after;
        let calls = |at: usize| open(at + 1) && !CALL_NOTHING.contains(&self.word(at).as_str());
        writes
            && schema.is_some_and(|schema| schema.eq_ignore_ascii_case("mysql"))
            && alone
            && !(after..self.tokens.len())
                .any(|at| self.word(at) == "SELECT" || self.name(at).is_some() && calls(at))
    }

    /// Whether a query begins here, and no partition is described.
    fn makes_rows(&self, at: usize) -> bool {
        match self.word(at).as_str() {
            "SELECT" => true,
            "VALUES" => !matches!(self.word(at + 1).as_str(), "IN" | "LESS"),
            _ => false,
        }
    }

    /// The key word at a place, in capitals; empty where there is none.
    fn word(&self, at: usize) -> String {
        match self.tokens.get(at) {
            Some(Token::Word { text, quoted: false }) => text.to_uppercase(),
            _ => String::new(),
        }
    }

    /// Everything from a token on, in one spelling.
    fn rest(&self, from: usize) -> String {
        let text = |token: &Token| match token {
            Token::Word { text, .. } | Token::Literal(text) => text.to_lowercase(),
            Token::Mark(mark) => mark.to_string(),
        };
        self.tokens.iter().skip(from).map(text).collect::<Vec<_>>().join(" ")
    }

    fn name(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at) {
            Some(Token::Word { text, .. }) => Some(text),
            _ => None,
        }
    }

    fn dotted(&self, at: usize) -> bool {
        self.tokens.get(at) == Some(&Token::Mark('.'))
    }

    /// The followed table of this name.
    fn followed(&self, schema: &str, name: &str) -> Option<usize> {
        let like = |a: &str, b: &str| if self.folds { same(a, b) } else { a == b };
        self.tables.iter().position(|table| like(&table.schema, schema) && like(&table.name, name))
    }

    /// The followed table that is named at a place.
    fn named(&self, at: usize) -> Option<usize> {
        let first = self.name(at)?;
        match self.dotted(at + 1) {
            true => self.followed(first, self.name(at + 2)?),
            false => self.followed(self.schema, first),
        }
    }

    /// The first followed table that is named anywhere from a place on.
    fn mentioned(&self, from: usize) -> Option<usize> {
        (from..self.tokens.len()).find_map(|at| match at > 0 && self.dotted(at - 1) {
            true => None,
            false => self.named(at),
        })
    }

    fn structure(&self) -> Said {
        let verb = self.word(0);
        let mut at = 1;
        while BETWEEN.contains(&self.word(at).as_str()) || self.tokens.get(at) == Some(&Token::Mark('=')) {
            at += 1;
        }
        // CREATE DEFINER = user@host TRIGGER ...: the kind comes after it.
        if self.word(at) == "DEFINER" {
            let kind = |place: &usize| HARMLESS.contains(&self.word(*place).as_str());
            at = (at..self.tokens.len()).find(kind).unwrap_or(at);
        }
        let kind = self.word(at);
        if kind == "TEMPORARY" || HARMLESS.contains(&kind.as_str()) {
            return Said::Other;
        }
        let structure = |found: Option<usize>| found.map_or(Said::Other, Said::Structure);
        at += 1;
        while matches!(self.word(at).as_str(), "IF" | "NOT" | "EXISTS") {
            at += 1;
        }
        match (verb.as_str(), kind.as_str()) {
            (_, "DATABASE" | "SCHEMA") => {
                let gone = |name: &str| self.tables.iter().position(|table| same(&table.schema, name));
                structure(self.name(at).filter(|_| verb == "DROP").and_then(gone))
            }
            ("CREATE", "TABLE") => match self.named(at) {
                Some(table) => Said::Structure(table),
                // Where rows are logged its rows are, and not what they were selected by.
                None if (at..self.tokens.len()).any(|at| self.makes_rows(at)) => Said::Rows(None),
                None => Said::Other,
            },
            ("ALTER", "TABLE") => match self.named(at) {
                Some(table) => Said::Structure(table),
                // Another one may take its name, or exchange a partition with it.
                None => {
                    let moves = |place: &usize| matches!(self.word(*place).as_str(), "RENAME" | "EXCHANGE");
                    let moves = (at..self.tokens.len()).find(moves);
                    structure(moves.and_then(|place| self.mentioned(place)))
                }
            },
            _ => structure(self.mentioned(1)),
        }
    }
}

/// Whether two names are one where case is no difference.
fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// The parser of a full-text index, in the line of a table's statement that makes the index.
pub(super) fn parser(line: &str) -> Option<(String, String)> {
    let statement = Statement { tokens: tokens(line), schema: "", tables: &[], folds: true };
    let (fulltext, key) = (statement.word(0), statement.word(1));
    if fulltext != "FULLTEXT" || key != "KEY" {
        return None;
    }
    let named = |at: &usize| statement.word(*at) == "WITH" && statement.word(at + 1) == "PARSER";
    let at = (2..statement.tokens.len()).find(named)?;
    Some((statement.name(2)?.to_string(), statement.name(at + 2)?.to_string()))
}

/// Takes a statement apart. Comments go, but what stands in those that a server runs stays.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() || first == '\0' {
            rest = &rest[first.len_utf8()..];
        } else if let Some(inside) = run_by_servers(rest) {
            rest = inside;
        } else if rest.starts_with("*/") {
            rest = &rest[2..];
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else if first == '#' || rest.starts_with("-- ") || rest.starts_with("--\n") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if matches!(first, '\'' | '"' | '`') {
            let (inside, after) = quoted(rest, first);
            // In one SQL mode double quotes enclose names.
            found.push(match first {
                '\'' => Token::Literal(inside),
                _ => Token::Word { text: inside, quoted: true },
            });
            rest = after;
        } else if is_word(first) {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            found.push(Token::Word { text: rest[..end].to_string(), quoted: false });
            rest = &rest[end..];
        } else {
            found.push(Token::Mark(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii() && !c.is_whitespace()
}

/// What follows the beginning of a comment that servers (of one flavor, from a version on) run.
fn run_by_servers(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("/*!").or_else(|| text.strip_prefix("/*M!"))?;
    Some(inside.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// A quoted piece and what comes after it. Backslashes escape, except in names.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut inside = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && quote != '`' {
            inside.extend(characters.next().map(|(_, escaped)| escaped));
        } else if c != quote {
            inside.push(c);
        } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
            characters.next();
            inside.push(c);
        } else {
            return (inside, &text[at + c.len_utf8()..]);
        }
    }
    (inside, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(query: &str) -> Said {
        let tables = [Name::new("shop", "orders"), Name::new("shop", "it`s")];
        classify(query, "shop", &tables, true)
    }

    #[test]
    fn s_22_names_that_differ_by_case_are_two_where_the_server_says_so() {
        let tables = [Name::new("shop", "Orders"), Name::new("shop", "orders")];
        let said = |query| classify(query, "shop", &tables, false);
        assert_eq!(said("TRUNCATE orders"), Said::Truncate(1));
        assert_eq!(said("TRUNCATE `Orders`"), Said::Truncate(0));
        assert_eq!(said("DROP TABLE ORDERS"), Said::Other);
        assert_eq!(classify("DROP TABLE ORDERS", "shop", &tables[1..], true), Said::Structure(0));
    }

    #[test]
    fn s_22_names_in_the_character_set_of_the_client() {
        let tables = [Name::new("shop", "orders"), Name::new("shop", "Ä")];
        let said = |collation: u16, text: &[u8]| {
            let mut variables = vec![0, 0, 0, 0, 0, 4];
            variables.extend_from_slice(&collation.to_le_bytes());
            variables.extend_from_slice(&[45, 0, 45, 0]);
            Logged { schema: b"shop", text, variables: &variables }.said(text, &tables, false)
        };
        assert_eq!(said(45, "TRUNCATE `Ä`".as_bytes()), Said::Truncate(1));
        assert_eq!(said(8, b"TRUNCATE `\xc4`"), Said::Truncate(1));
        assert_eq!(said(1032, b"DROP TABLE `\xc4`"), Said::Structure(1));
        assert_eq!(said(8, b"DROP TABLE `\xd6`"), Said::Other);
        // Of a character set that is not read (sjis) what may be meant is.
        assert_eq!(said(13, b"TRUNCATE `\x83\x5c`"), Said::Structure(1));
        assert_eq!(said(13, b"INSERT INTO x VALUES ('\x83\x5c')"), Said::Rows(None));
        assert_eq!(said(13, b"CREATE VIEW `\x83\x5c` AS SELECT 1"), Said::Other);
        assert_eq!(said(13, b"DROP TABLE `\x83\x5c`, orders"), Said::Structure(0));
        let other = Logged { schema: b"elsewhere", text: b"", variables: &[] };
        let elsewhere =
            |text: &[u8]| other.said(text, &[Name::new("shop", "t"), Name::new("shop", "Ä")], false);
        assert_eq!(elsewhere(b"TRUNCATE `\x83\x5c`"), Said::Other);
        assert_eq!(elsewhere(b"TRUNCATE shop.`\x83\x5c`"), Said::Structure(1));
    }

    #[test]
    fn r5_borders_of_transactions() {
        assert_eq!(said("BEGIN"), Said::Begin);
        assert_eq!(said("COMMIT"), Said::Commit);
        assert_eq!(said("ROLLBACK"), Said::Rollback);
        assert_eq!(said("rollback /* added by the server */"), Said::Rollback);
        assert_eq!(said("ROLLBACK TO `sp`"), Said::PartialRollback);
        assert_eq!(said("SAVEPOINT `sp`"), Said::Other);
        let (end, commit) = (said("XA END X'6162',X'',1"), said("XA COMMIT X'6162',X'',1"));
        match (end, commit) {
            (Said::XaEnd(end), Said::XaCommit(commit)) => assert_eq!(end, commit),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn s_22_structure_of_followed_tables_and_of_no_others() {
        for query in [
            "ALTER TABLE orders ADD COLUMN x int",
            "alter online table `shop`.`Orders` drop column x",
            "/*!40000 ALTER TABLE `orders` DISABLE KEYS */",
            "ALTER TABLE orders_new RENAME TO orders",
            "RENAME TABLE orders TO old, new TO orders",
            "DROP TABLE IF EXISTS other, `shop`.`orders` /* generated by server */",
            "CREATE OR REPLACE TABLE orders (a int)",
            "-- a word\nDROP DATABASE shop",
            "SOMETHING NEW orders",
            "SET STATEMENT lock_wait_timeout = 5, max_statement_time = (1 + 1) FOR ALTER TABLE orders ADD x int",
            "DROP DATABASE Shop",
        ] {
            assert_eq!(said(query), Said::Structure(0), "{query}");
        }
        assert_eq!(said("ALTER TABLE `it``s` ADD x int"), Said::Structure(1));
        for query in [
            "ALTER TABLE other ADD COLUMN orders int",
            "ALTER TABLE elsewhere.orders ADD COLUMN x int",
            "ALTER TABLE lines ADD FOREIGN KEY (o) REFERENCES orders (id)",
            "CREATE TABLE copy LIKE orders",
            "CREATE INDEX i ON orders (a)",
            "DROP INDEX i ON orders",
            "CREATE DEFINER=`root`@`localhost` TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET @a = 1",
            "DROP TRIGGER IF EXISTS t",
            "CREATE OR REPLACE ALGORITHM=MERGE VIEW v AS SELECT * FROM orders",
            "DROP TEMPORARY TABLE IF EXISTS `shop`.`orders`",
            "DROP DATABASE elsewhere",
            "ANALYZE TABLE orders",
            "GRANT SELECT ON shop.orders TO u",
            "FLUSH TABLES orders",
        ] {
            assert_eq!(said(query), Said::Other, "{query}");
        }
    }

    #[test]
    fn s_34_the_parser_of_an_index_is_told_from_words_about_one() {
        let read = |line| parser(line).map(|(index, parser)| format!("{index} {parser}"));
        let line = "  FULLTEXT KEY `a``b` (`c`,`d`) COMMENT 'it''s' /*!50100 WITH PARSER `ngram` */ /*!80000 INVISIBLE */,";
        assert_eq!(read(line).as_deref(), Some("a`b ngram"));
        assert_eq!(read("  FULLTEXT KEY `a` (`WITH`,`PARSER`) COMMENT ' WITH PARSER `x` ',"), None);
        assert_eq!(read("  KEY `a` (`c`) /*!50100 WITH PARSER `ngram` */"), None);
    }

    #[test]
    fn s_21_a_truncate_names_its_table() {
        for query in [
            "TRUNCATE orders",
            "truncate table `shop`.`orders`",
            "TRUNCATE TABLE orders WAIT 5",
            "set statement `for` = 'for' for truncate orders",
        ] {
            assert_eq!(said(query), Said::Truncate(0), "{query}");
        }
        assert_eq!(said("TRUNCATE TABLE elsewhere.orders"), Said::Other);
    }

    #[test]
    fn f_49_rows_that_were_logged_as_a_statement() {
        for query in [
            "INSERT INTO orders VALUES (1)",
            "UPDATE lines JOIN orders SET x = 1",
            "DELETE FROM `shop`.`orders`",
            "LOAD DATA INFILE 'x' INTO TABLE orders",
            "ANALYZE FORMAT=JSON DELETE FROM orders",
            "SET STATEMENT binlog_format = 'STATEMENT' FOR UPDATE orders SET a = 1",
            "UPDATE mysql.pulse JOIN shop.orders SET a = 1",
        ] {
            assert_eq!(said(query), Said::Rows(Some(0)), "{query}");
        }
        // What a trigger, a view or a routine changes is not named.
        for query in [
            "INSERT INTO lines VALUES ('orders')",
            "UPDATE a_view SET x = 1",
            "SELECT `shop`.`f`()",
            "REPLACE INTO mysql_log SELECT * FROM mysql.user",
            // No pulse: other tables, and what a routine may do.
            "UPDATE mysql.pulse, a_view SET x = 1",
            "UPDATE mysql.pulse JOIN a_view SET x = 1",
            "DELETE mysql.pulse, a_view FROM mysql.pulse JOIN a_view",
            "INSERT INTO mysql.pulse SELECT * FROM a_view",
            "INSERT INTO mysql.pulse (id) VALUES (f())",
            "UPDATE mysql.pulse SET id = shop.f()",
            "UPDATE mysql.pulse SET id = `now`()",
            "CREATE TABLE copy SELECT f() AS x",
            "CREATE TABLE copy AS VALUES (f())",
        ] {
            assert_eq!(said(query), Said::Rows(None), "{query}");
        }
        // The pulse of a managed server.
        for query in [
            "INSERT INTO mysql.rds_heartbeat2(id, value) values (1,2) ON DUPLICATE KEY UPDATE value = 2",
            "DELETE LOW_PRIORITY QUICK FROM `mysql`.`pulse`",
            "REPLACE mysql.pulse SET at = NOW(6)",
            "UPDATE mysql.pulse SET at = CURRENT_TIMESTAMP() WHERE id IN (1, 2)",
            "CREATE TABLE copy (a int) COMMENT 'SELECT'",
            "CREATE TABLE copy (a int) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (5))",
            "CREATE TABLE copy (`select` int) PARTITION BY LIST (a) (PARTITION p VALUES IN (5))",
            "ANALYZE TABLE lines",
        ] {
            assert_eq!(said(query), Said::Other, "{query}");
        }
        assert_eq!(
            classify("UPDATE pulse SET a = 1", "mysql", &[Name::new("shop", "orders")], true),
            Said::Other
        );
    }
}
