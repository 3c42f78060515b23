//! What each code of a plan file or a connection URL means: the pages of `towpath explain`.
//! Hazards have theirs in the catalogue of the diff. Data only.

/// Code, title, page; sorted by code.
pub static ERRORS: &[(&str, &str, &str)] = &[
    (
        "E101",
        "the plan is empty",
        "The file holds nothing, only comments, or null.\n\n\
         The smallest plan:\n\n  version: 1\n  name: shop\n  source: { url: \"${SOURCE_URL}\" }\n  \
         target: { url: \"${TARGET_URL}\" }\n  tables: { \"*\": {} }\n\n\
         `towpath init --from URL --to URL` writes one with comments.",
    ),
    (
        "E102",
        "the plan is not UTF-8 text",
        "A plan is UTF-8, with or without a byte order mark. UTF-16, NUL bytes and escapes that stand for no \
         character (half of a surrogate pair) are refused.\n\nSave the file as UTF-8.",
    ),
    (
        "E103",
        "the plan is not YAML",
        "The text cannot be read as YAML 1.2. Usual causes: a tab in the indentation, keys of one map that do \
         not start in the same column, a quote or bracket that is not closed, a pattern such as * without \
         quotes (write \"*\").\n\nReading ends at the first such place; what follows is judged once it is mended.",
    ),
    (
        "E104",
        "a key is given twice",
        "YAML readers differ in which of two equal keys they take, so neither is taken. Both places are named; \
         keep one.",
    ),
    (
        "E105",
        "an unknown key or hazard code",
        "The key is not part of the grammar at that place. A misspelt key that was ignored would change what a \
         plan does, so it is refused.\n\n`towpath schema` prints the grammar; editors use it for completion.",
    ),
    (
        "E106",
        "a value of another kind is expected",
        "The key is right, its value is not: a list where a map belongs, text where true or false belongs, a \
         number with an underscore, a required key that is missing.\n\n\
         A plain word is a boolean only as true or false, never as yes, no, on or off; a number is plain decimal \
         digits.",
    ),
    (
        "E107",
        "the plan's version is missing or not known",
        "This towpath reads `version: 1`, as a whole number or in quotes. A plan for a later version may use keys \
         that this one would misread; use a later towpath.",
    ),
    ("E108", "a number is out of range", "The message names the bounds. `towpath schema` lists them all."),
    (
        "E109",
        "not a size or duration",
        "Sizes: digits and one of B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024), \
         without a space: 512MiB, 20GB.\n\nDurations: digits and one of ms, s, m, h, d, w: 500ms, 5s, 7d.\n\n\
         No fractions, no signs, no two units.",
    ),
    (
        "E110",
        "the plan is too big",
        "A plan is bounded so that reading one can never exhaust the machine: 16 MiB, 200,000 values with aliases \
         expanded, 64 levels, 1,000 anchors, 10,000 entries of tables.\n\nUse patterns instead of one entry for \
         each table.",
    ),
    (
        "E111",
        "merge keys and tags are not supported",
        "`<<`, !include and other tags mean different things to different readers. Put what many tables share \
         under defaults, or repeat an anchored map with an alias: \"a\": &small { verify: count } and \
         \"b\": *small.",
    ),
    ("E112", "more than one document", "A file holds one plan. Remove what follows the second `---`."),
    (
        "E113",
        "a variable is not set",
        "${NAME} in source.url, target.url and target.schema is replaced after the file was read: by --var \
         NAME=VALUE, else by the environment. A value is never read as YAML. Unset and empty variables are \
         refused. $$ stands for one $.",
    ),
    (
        "E114",
        "a password is written into the plan",
        "Plans are committed, reviewed and shared; a password in one is a password in public.\n\n\
         Put the whole URL into a variable: url: \"${SOURCE_URL}\", or only the password: \
         url: \"postgres://app:${DB_PASSWORD}@db/shop\" (percent-encoded). Change the password if the file was \
         shared.",
    ),
    (
        "E115",
        "the plan file cannot be used",
        "The path does not exist, is a directory, a pipe or a device, or may not be read. Use - for standard \
         input.\n\nAs a warning: anybody on the machine may change the file, and with it what is done.",
    ),
    (
        "E120",
        "two entries decide about one thing",
        "The narrowest pattern decides about a table: users is narrower than user*, which is narrower than *. \
         Where neither of two patterns lies within the other (tmp_* and *_log for tmp_log) and they say different \
         things, nothing is guessed: add an entry for that table.\n\nAlso: a type mapped twice, a hazard accepted \
         twice for one place.",
    ),
    (
        "E121",
        "a pattern matches no table",
        "A pattern without effect is a misspelling or left over. A name without a schema means the source's \
         default schema (public on PostgreSQL); write schema.name or schema.* for another one, and a name with \
         odd characters in double quotes.",
    ),
    (
        "E122",
        "a pattern decides about nothing",
        "Other, narrower entries decide about every table it matches. Remove it.",
    ),
    (
        "E123",
        "a table or column does not exist",
        "The name is not in the source's catalog. On PostgreSQL Users and users are two names. The nearest name is \
         shown.",
    ),
    (
        "E124",
        "two things would take one name",
        "Two tables would become one table on the target, two columns one column, or source and target are the \
         same. Nothing is merged; give one of them another name with to:.",
    ),
    (
        "E125",
        "a type cannot be mapped",
        "The target has no type that holds every value of the source's type, or the one that the plan asks for \
         would lose some. Choose a type: columns: { price: { type: \"numeric(19,4)\" } }, or for all of a kind: \
         types: [{ from: money, to: \"numeric(19,4)\" }].",
    ),
    (
        "E126",
        "what a table needs is left behind",
        "A carried table refers to a skipped one by a foreign key, or is a partition or child of one. Carry the \
         other table too, skip this one, or leave its foreign keys out: keys: [primary, unique].",
    ),
    (
        "E127",
        "where is not one condition",
        "where: takes what follows WHERE in the source's SQL: comparisons joined by and, or, not. A semicolon, a \
         comment, a sub-select or an open quote is refused, because the text becomes part of a statement.",
    ),
    (
        "E128",
        "a filter needs columns that the change log does not carry",
        "Of a row that is changed or deleted the log carries its replica identity, and other columns only with \
         REPLICA IDENTITY FULL. A filter that uses another column cannot be decided for such a row, and would make \
         the application's own updates fail.\n\n\
         Filter by columns of the identity, set REPLICA IDENTITY FULL on the source, or write cdc: false.",
    ),
    (
        "E129",
        "the plan contradicts itself",
        "Two settings exclude each other: where: with load: none, to: under a pattern of many tables, columns of a \
         partition other than its root's, foreign keys without the keys they refer to, an acceptance of a hazard \
         that always stops; cdc: true with load: none, a SQLite source that is followed without \
         cdc: { sqlite: triggers }, cdc:, cutover: or reverse: true where no table is followed, reverse: true with a SQLite \
         target and without that, a cutover of tables with verify: none.",
    ),
    ("E130", "steps wait for each other in a circle", "The circle is printed. Mend the order by hand."),
    (
        "E131",
        "the saved plan is not usable here",
        "It was edited, or made by another towpath. Plan again: towpath plan --out FILE.",
    ),
    (
        "E132",
        "not built yet",
        "The design names this, and this version does not do it. It is refused rather than ignored, so that a plan \
         never does less than it says. Engines so far: postgres, sqlite and mysql (MySQL and MariaDB), each at both ends.",
    ),
    (
        "E140",
        "a column has the name of a system column",
        "PostgreSQL tables cannot have columns called oid, ctid, xmin, xmax, cmin, cmax or tableoid. Rename it: \
         columns: { xmin: { to: x_min } }.",
    ),
    (
        "E141",
        "the target cannot hold a name",
        "The name is empty, too long (63 bytes on PostgreSQL) or holds a NUL. Names are never cut in silence; \
         choose another one with to:.",
    ),
    (
        "E142",
        "two names differ only in case",
        "The target takes them for the same name. Rename one of them with to:.",
    ),
    (
        "E143",
        "a name belongs to towpath",
        "Names that begin with towpath_ hold its state on the target. Rename it.",
    ),
    (
        "E144",
        "a schema belongs to the engine or to towpath",
        "Schemas such as pg_catalog or information_schema cannot be used, nor can towpath, which holds the state \
         on the target. Give the tables another schema with to:, or `target: { schema: ... }`.",
    ),
    (
        "E150",
        "a hazard that always stops is accepted",
        "Some findings cannot be accepted, because what follows would be wrong whatever anybody agrees to. \
         `towpath explain CODE` for that hazard tells the ways out.",
    ),
    (
        "E151",
        "there is no such hazard",
        "An acceptance names a code that nothing can raise. `towpath explain` lists all codes.",
    ),
    (
        "E201",
        "something else is in the way",
        "The target has an object of that name that is not what the plan wants, and Towpath did not make it. \
         Nothing that Towpath did not make is dropped or changed: drop or change it yourself, send the table \
         elsewhere with to:, or skip it. The lines below the message say what differs.",
    ),
    (
        "E202",
        "a name is taken by another kind of object",
        "Tables, views, indexes and sequences of one schema share their names on the target. Rename what is there, or \
         give the table another name with to:.",
    ),
    (
        "E203",
        "something was changed since this plan created it",
        "Towpath made the object, and either it is no longer as it was made, or the plan or the source has changed and \
         wants another one. Undo the change, or start over under another \
         plan name.",
    ),
    (
        "E204",
        "a step was done with other inputs",
        "The plan file or the source changed after a part of it was applied, so what is done does not fit what is \
         wanted. Undo the change, or start over under another plan name.",
    ),
    (
        "E205",
        "a table that must exist does not, or is not complete",
        "create: false promises that the table is on the target and right. Create it, mend it, or let Towpath create \
         it: create: true.",
    ),
    (
        "E206",
        "something that this plan created is gone",
        "A finished step made it and it is not on the target any more. Put it back, or start over under another plan \
         name.",
    ),
    (
        "E207",
        "a function is needed and not carried",
        "A default, check, index or generated column calls a function of the source that is not on the target. \
         Functions are not carried yet: create it on the target first, or skip what uses it.",
    ),
    (
        "E208",
        "a partitioned table cannot be written on the target",
        "The target has no partitions, or not of that kind. The message says what is missing.",
    ),
    (
        "E209",
        "a foreign key that the plan does not carry points to rows that are replaced",
        "load: replace empties a table before it is loaded, and another table of the target has a foreign key to it \
         that the plan knows nothing of: the server would refuse it, or delete or change rows that are none of the \
         plan's. Drop the key yourself, or carry its table together with the key, which is then made again after the \
         rows; or empty the tables yourself and use load: copy.",
    ),
    (
        "E301",
        "not a connection URL, or no engine for it",
        "Accepted: postgres://user@host:port/database, postgresql://..., mysql://user@host:port/database, \
         mariadb://... and sqlite:path/to/file.db. Prefixes of drivers (jdbc:, postgresql+psycopg:) are not part of a URL here.",
    ),
    (
        "E302",
        "the URL is not percent-encoded as it must be",
        "In user, password and database these characters are written by their bytes: @ %40, : %3A, / %2F, ? %3F, \
         # %23, % %25, [ %5B, ] %5D, space %20. A % is followed by two hexadecimal digits; the whole is UTF-8 \
         without NUL.\n\nThe URL is not repeated in the message, because it may hold a password.",
    ),
    ("E303", "the port is not a port", "1 to 65535, or no colon at all for the usual port."),
    (
        "E304",
        "the host cannot be used",
        "One host: a name, an IPv4 address, an IPv6 address in brackets, or a socket directory as \
         ?host=/var/run/postgresql (of MySQL the socket itself: ?host=/run/mysqld/mysqld.sock). Several hosts are refused: a plan is about one server.",
    ),
    (
        "E305",
        "the URL names no user or no database",
        "Nothing is guessed from the operating system's user: write postgres://USER@host/DATABASE.",
    ),
    (
        "E306",
        "an unknown, wrong or repeated URL option",
        "Options: sslmode, sslrootcert, sslcert, sslkey, application_name, connect_timeout, host, channel_binding, \
         keepalives_idle, keepalives_interval, keepalives_count, tcp_user_timeout. A mysql URL takes only \
         sslmode (verify-full, require, prefer, disable), sslrootcert, sslcert, sslkey, connect_timeout, \
         keepalives_idle and host. \
         An option that was misspelt and ignored could switch off TLS, so it is refused.",
    ),
    (
        "E307",
        "a URL option that would change the session",
        "Sessions are set up by towpath: time zone, search path, timeouts and the like decide whether rows arrive \
         unchanged. options=, replication=, init_command= and their kind are refused.",
    ),
    (
        "E308",
        "a TLS file cannot be used",
        "sslrootcert, sslcert and sslkey name PEM files that can be read; certificate and key belong together, and \
         nobody else may read the key (chmod 600).",
    ),
    (
        "E309",
        "a password on the command line",
        "Arguments can be read by every user of the machine and stay in the shell's history. Put the URL into a \
         variable, or the password into PGPASSWORD (MYSQL_PWD for a mysql URL).",
    ),
    ("E310", "the host name is not known", "DNS has no address for it. Check the spelling and the network."),
    (
        "E311",
        "the connection was refused",
        "Nothing listens at that host and port or socket. Check the address, the port and whether the server runs.",
    ),
    (
        "E312",
        "the server cannot be reached",
        "No answer within the time for connecting, or no way to it: a firewall, a wrong address, a server that is \
         down.",
    ),
    (
        "E313",
        "the server does not answer",
        "The connection was made and then nothing came: a proxy without a server behind it, or a server that hangs.",
    ),
    (
        "E314",
        "not such a server",
        "Something answers, and it does not speak the engine's protocol: another database, a web server, a proxy.",
    ),
    (
        "E315",
        "the server's version or product is not supported",
        "PostgreSQL 14 and later. Products that speak its protocol and are another database behave differently \
         where it matters and are refused.",
    ),
    (
        "E316",
        "source and target are the same database",
        "Both URLs reach one database, whatever the host names say.",
    ),
    (
        "E320",
        "there is no such SQLite file",
        "A source is never created. Check the path; it is taken literally.",
    ),
    ("E321", "the path is no SQLite file", "It is a directory or something else that is not a file."),
    (
        "E322",
        "the file is not an SQLite database",
        "It is empty, its header is not SQLite's, or it is encrypted. Is it the right file?",
    ),
    (
        "E323",
        "the SQLite path is no plain path",
        "A path is taken literally. :memory: and file: URIs with parameters are refused: a plan is about a database \
         that lasts. For a file of that very name write sqlite:./NAME.",
    ),
    (
        "E324",
        "the SQLite database cannot be opened as it is",
        "A journal of an unfinished transaction lies beside it, another process has locked it, or the -wal and -shm \
         files cannot be used. Let the application that owns it close it cleanly, then try again.",
    ),
    (
        "E401",
        "the plan is stale",
        "The plan that was approved is not the plan that would be made now: the source, the target or the plan file \
         changed in between, and the message names what. Nothing was done. Plan again, review, and approve the new \
         one: towpath plan --out FILE.",
    ),
    (
        "W201",
        "a name is not what it seems",
        "It holds characters that cannot be seen or change the direction of writing, or mixes letters of scripts \
         that look alike (a Cyrillic one in a Latin word). It is used as it is, and shown with such characters \
         spelt out.",
    ),
    (
        "W202",
        "variables are not filled in here",
        "${NAME} is replaced in source.url, target.url and target.schema only. Elsewhere the text is taken as it is.",
    ),
    (
        "W203",
        "a variable is not set, and not needed yet",
        "This command opens no database. A command that does will refuse with E113.",
    ),
    (
        "W204",
        "a step is done and no longer asked for",
        "An earlier version of the plan asked for it. What it made stays on the target; drop it yourself if it is not \
         wanted.",
    ),
    (
        "W205",
        "a table on the target has more columns than the source",
        "Nothing is copied into them; they get their defaults, or null.",
    ),
    (
        "W206",
        "a type mapping is not used",
        "No carried column is of that type. Remove it, or check its spelling.",
    ),
    (
        "W207",
        "an acceptance is not used",
        "The hazard was not found at that place. Remove the entry, or check its place: table or table.column of the \
         source.",
    ),
    (
        "W208",
        "a hazard is accepted twice",
        "Only the first entry for one place counts. Remove the other one.",
    ),
    (
        "W301",
        "the connection is not protected",
        "Without sslmode=verify-full somebody on the way can read, change or take over the connection. Weaker modes \
         work, and are said out loud.",
    ),
    (
        "W302",
        "the ends may be swapped",
        "The target has rows and the source has none. Check which URL is which.",
    ),
];

/// The title and page of a code, in any case.
pub fn find(code: &str) -> Option<(&'static str, &'static str)> {
    let found = ERRORS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(code))?;
    Some((found.1, found.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_found_in_any_case() {
        assert!(ERRORS.is_sorted_by_key(|(code, ..)| *code));
        assert_eq!(find("e114").map(|(title, _)| title), Some("a password is written into the plan"));
        assert!(find("E999").is_none());
    }

    /// A code that is raised somewhere and explained nowhere leaves a user alone.
    #[test]
    fn every_code_in_the_sources_has_a_page() {
        let mut missing = Vec::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("src is readable") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "rs") {
                    let text = std::fs::read_to_string(&path).expect("a source file");
                    missing.extend(codes(&text).into_iter().filter(|code| find(code).is_none()));
                }
            }
        }
        missing.retain(|code| code != "E999");
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// All codes in double quotes in a source file.
    fn codes(text: &str) -> Vec<String> {
        let quoted = text.split('"');
        let is_code = |part: &&str| {
            part.len() == 4
                && part.starts_with(['E', 'W'])
                && part[1..].bytes().all(|byte| byte.is_ascii_digit())
        };
        quoted.filter(is_code).map(String::from).collect()
    }
}
