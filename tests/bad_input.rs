//! Bad input, by the ids of the contract's section 4: what a user can type wrong in a plan file or
//! a URL, and what must be said about it. No database is opened.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use towpath::cli::problem;
use towpath::engine::Url;
use towpath::plan::{
    Acknowledge, Cdc, Connect, Fence, Mode, Plan, Problem, SequencesFrom, Severity, Variables, Verify, Which,
    resolve, resolve_for,
};

use crate::support::thread_time;

const HEAD: &str =
    "version: 1\nname: shop\nsource: { url: \"sqlite:a.db\" }\ntarget: { url: \"sqlite:b.db\" }\n";

fn run(text: impl AsRef<[u8]>) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    resolve("towpath.yaml", text.as_ref(), &Variables::new())
}

/// The problems of a plan that must not resolve.
fn refused(text: impl AsRef<[u8]>) -> Vec<Problem> {
    run(text.as_ref()).expect_err(&String::from_utf8_lossy(text.as_ref()))
}

fn codes(text: impl AsRef<[u8]>) -> Vec<String> {
    refused(text).into_iter().map(|problem| problem.code).collect()
}

/// A good plan with more lines at its end.
fn with(more: &str) -> String {
    format!("{HEAD}{more}\n")
}

fn tables(entries: &str) -> String {
    with(&format!("tables:\n{entries}"))
}

/// A plan whose one table is followed, with more lines at its end.
fn followed(more: &str) -> String {
    with(&format!("tables: {{ users: {{ cdc: true }} }}\n{more}"))
}

fn good(text: &str) -> Plan {
    match run(text) {
        Ok((plan, _)) => plan,
        Err(problems) => panic!("{}", problem::render("p", text.as_bytes(), &problems, false)),
    }
}

#[test]
fn y_01_an_empty_plan_is_e101() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "null\n", "~", "---\n...\n", "\u{feff}"] {
        assert_eq!(codes(text), ["E101"], "{text:?}");
    }
}

#[test]
fn y_02_what_is_not_utf_8_is_e102_with_its_offset() {
    let mut latin = with("tables: { \"*\": {} } # ").into_bytes();
    let at = latin.len() - 1;
    latin.insert(at, 0xe9);
    let problem = &refused(&latin)[0];
    assert_eq!((problem.code.as_str(), problem.span.map(|span| span.offset)), ("E102", Some(at)));
    assert!(problem.message.contains(&at.to_string()));
    assert_eq!(codes(b"\xff\xfev\0e\0".as_slice()), ["E102"]);
    assert_eq!(codes("version: 1\nname: \"a\0b\"\n"), ["E102"]);
    assert_eq!(codes("version: 1\nname: \"\\ud800\"\n"), ["E102"]);
    // A mark at the start is fine.
    good(&format!("\u{feff}{}", tables("  \"*\": {}")));
}

#[test]
fn y_03_broken_syntax_is_e103_with_line_and_column() {
    for (text, line) in [
        ("version: 1\nsource:\n\turl: x\n", 3),
        ("version: 1\n name: x\n", 2),
        ("version: 1\n\tname: x\n", 2),
        ("version: 1\nname: \"x\n", 2),
        ("version: 1\nsource: { url: x\n", 2),
        ("version: 1\ntables:\n  *: {}\n", 3),
    ] {
        let problems = refused(text);
        assert_eq!(problems[0].code, "E103", "{text:?}");
        let span = problems[0].span.expect("a place");
        assert!(span.line >= line && span.line <= text.lines().count() + 1, "{text:?}: {span:?}");
    }
}

#[test]
fn y_04_a_duplicate_key_is_e104_with_both_places() {
    let problems = refused(with("name: other\ntables: { \"*\": {} }"));
    assert_eq!(problems[0].code, "E104");
    assert_eq!(problems[0].span.map(|span| span.line), Some(5));
    assert!(problems[0].notes.iter().any(|note| note.contains("2:1")), "{problems:?}");
    // Two duplicates are two problems of one run.
    assert_eq!(codes(tables("  a: {}\n  a: {}\n  b: { to: x, to: y }")), ["E104", "E104"]);
}

#[test]
fn y_05_a_misspelt_key_is_e105_with_the_nearest_name() {
    let problems = refused(with("tabels: { \"*\": {} }"));
    let unknown = problems.iter().find(|problem| problem.code == "E105").expect("E105");
    assert_eq!(unknown.help.as_deref(), Some("did you mean tables?"));
    assert!(problems.iter().any(|problem| problem.message.contains("has no tables")));
    for (entries, near) in [
        ("  users: { indexs: none }", "indexes"),
        ("  users: { columns: { a: { typ: text } } }", "type"),
        ("  users: { were: \"a > 1\" }", "where"),
    ] {
        let problems = refused(tables(entries));
        assert_eq!(problems[0].help.as_deref(), Some(format!("did you mean {near}?").as_str()), "{entries}");
    }
    let problems = refused(with("tables: { \"*\": {} }\nlimits: { writer: 3 }"));
    assert_eq!(problems[0].help.as_deref(), Some("did you mean writers?"));
}

#[test]
fn y_06_a_wrong_type_is_e106_and_says_both() {
    for text in [
        with("tables: [users]"),
        with("tables: users"),
        tables("  users: 5"),
        tables("  users:"),
        tables("  users: skp"),
        tables("  users: { keys: primary }"),
        tables("  users: { keys: [primry] }"),
        tables("  users: { create: \"true\" }"),
        tables("  users: { where: [a] }"),
        tables("  users: { where: ~ }"),
        tables("  users: { columns: [a] }"),
        tables("  users: { indexes: later }"),
        with("tables: {}"),
        with("tables: { \"*\": {} }\nlimits: 4"),
        with("tables: { \"*\": {} }\nlimits: { readers: \"4\" }"),
        with("tables: { \"*\": {} }\naccept: { hazard: D105, reason: x }"),
        with("tables: { \"*\": {} }\naccept:\n  - { hazard: D105, reason: x, until: 2026-02-30 }"),
        "version: 1\n".to_string(),
        "[1, 2]\n".to_string(),
    ] {
        assert!(codes(&text).iter().all(|code| code == "E106"), "{text}: {:?}", codes(&text));
    }
    let problem = &refused(with("tables: [users]"))[0];
    assert!(problem.message.contains("expected a map") && problem.message.contains("got a list"));
}

#[test]
fn y_07_the_version_is_judged_first_and_alone() {
    for version in ["2", "99", "1.10", "1.0", "true", "~", "[1]", "\"one\"", "01"] {
        assert_eq!(codes(format!("version: {version}\nnoise: 1\n")), ["E107"], "{version}");
    }
    let missing = codes("name: shop\nsource: { url: a }\ntarget: { url: b }\ntables: { \"*\": {} }\n");
    assert_eq!(missing, ["E107"]);
    good(&tables("  \"*\": {}").replace("version: 1", "version: \"1\""));
}

#[test]
fn y_08_plain_words_stay_what_they_say() {
    for word in ["no", "on", "y", "0123", "1_000", "1e3", "2024-01-01", "22:22", "true", "0x1F", "1.10"] {
        let plan = good(&tables(&format!("  {word}: {{ where: {word} }}")));
        assert_eq!(plan.rules[0].pattern, word);
        assert_eq!(plan.rules[0].filter.as_ref().map(|(text, _)| text.as_str()), Some(word));
    }
    assert_eq!(good(&tables("  \"*\": {}").replace("shop", "on")).name, "on");
    // `~` is nothing, not text.
    assert_eq!(codes(tables("  users: { where: ~ }")), ["E106"]);
    // And no word but true and false is a boolean.
    for word in ["no", "off", "yes", "y", "0", "~", "\"false\""] {
        assert_eq!(codes(tables(&format!("  users: {{ create: {word} }}"))), ["E106"], "{word}");
    }
    assert_eq!(good(&tables("  users: { create: False }")).rules[0].create, Some(false));
}

#[test]
fn y_09_a_number_out_of_range_is_e108() {
    for (number, code) in [
        ("0", "E108"),
        ("-1", "E108"),
        ("1e9", "E108"),
        ("65", "E108"),
        ("99999999999999999999", "E108"),
        ("NaN", "E108"),
        ("4.0", "E106"),
        ("0123", "E106"),
        ("1_0", "E106"),
        ("0x4", "E106"),
        ("four", "E106"),
    ] {
        let text = with(&format!("tables: {{ \"*\": {{}} }}\nlimits: {{ writers: {number} }}"));
        assert_eq!(codes(&text), [code], "{number}");
    }
}

#[test]
fn y_10_sizes_have_one_grammar() {
    let chunk = |size: &str| with(&format!("tables: {{ \"*\": {{}} }}\nlimits: {{ chunk: {size} }}"));
    assert_eq!(good(&chunk("256MiB")).limits.chunk_bytes, 256 << 20);
    assert_eq!(good(&chunk("2GB")).limits.chunk_bytes, 2_000_000_000);
    for bad in ["10", "10mb", "10 MiB", "1h30", "-5MB", "NaN", "\"\u{ff11}MB\""] {
        assert_eq!(codes(chunk(bad)), ["E109"], "{bad}");
    }
    for bad in ["1B", "2TiB"] {
        assert_eq!(codes(chunk(bad)), ["E108"], "{bad}");
    }
}

/// Y-11 as it must hold: refused within a second, whatever the size.
fn bounded(text: String) -> Vec<String> {
    let start = thread_time();
    let codes = codes(text);
    assert!(thread_time() - start < Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 }));
    codes
}

#[test]
fn y_11_a_plan_that_would_exhaust_the_machine_is_e110() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", ")));
    }
    assert_eq!(bounded(bomb), ["E110"]);
    assert_eq!(bounded(format!("a: {}", "[".repeat(10_000))), ["E110"]);
    let deep: String = (0..10_000).map(|level| format!("{}a:\n", " ".repeat(level % 500))).collect();
    assert!(!bounded(deep).is_empty());
    let anchors: String = (0..1_000_000).map(|at| format!("- &a{at} x\n")).collect();
    assert_eq!(bounded(anchors), ["E110"]);
    let entries: String = (0..1_000_000).map(|at| format!("  t{at}: {{}}\n")).collect();
    assert_eq!(bounded(tables(&entries)), ["E110"]);
    let entries: String = (0..20_000).map(|at| format!("  t{at}: {{}}\n")).collect();
    assert_eq!(bounded(tables(&entries)), ["E110"]);
    assert_eq!(bounded("#".repeat((16 << 20) + 1)), ["E110"]);
}

#[test]
fn y_12_merge_keys_and_tags_are_e111() {
    for text in [
        tables("  a: &a { verify: count }\n  b: { <<: *a }"),
        tables("  a: !!python/object {}"),
        tables("  a: !include other.yaml"),
        tables("  !x a: {}"),
    ] {
        assert_eq!(codes(&text), ["E111"], "{text}");
    }
    // An alias is no merge.
    let plan = good(&tables("  a: &a { verify: count }\n  b: *a"));
    assert_eq!(plan.rules[1].verify, plan.rules[0].verify);
}

#[test]
fn y_13_two_documents_are_e112() {
    assert_eq!(codes(format!("{}---\nversion: 1\n", tables("  \"*\": {}"))), ["E112"]);
    good(&format!("---\n{}...\n", tables("  \"*\": {}")));
}

#[test]
fn y_14_variables_are_filled_after_reading_and_must_be_there() {
    let text = tables("  \"*\": {}").replace("sqlite:a.db", "${DB_URL}");
    let run = |value: Option<&str>| {
        let variables: Variables =
            value.map(|value| ("DB_URL".to_string(), value.to_string())).into_iter().collect();
        resolve("p", text.as_bytes(), &variables)
    };
    // Whatever a value looks like, it is one text.
    for value in ["sqlite:x.db", "x\" }\ntables: {}\n", "${OTHER}", "$$", "a: &b [", "\u{202e}"] {
        let (plan, _) = run(Some(value)).expect("filled");
        assert_eq!(plan.source.url, value);
    }
    for value in [None, Some("")] {
        let problems = run(value).expect_err("E113");
        assert_eq!(problems[0].code, "E113");
        assert!(problems[0].message.contains("DB_URL"));
        assert_eq!(problems[0].span.map(|span| span.line), Some(3));
    }
    for bad in ["${A${B}}", "${}", "${A", "${A B}"] {
        let text = tables("  \"*\": {}").replace("sqlite:a.db", bad);
        assert_eq!(codes(&text), ["E113"], "{bad}");
    }
    let text = tables("  \"*\": {}").replace("sqlite:a.db", "sqlite:$${A}$x");
    assert_eq!(good(&text).source.url, "sqlite:${A}$x");
}

#[test]
fn y_14_a_variable_that_is_not_needed_is_a_warning() {
    let text = tables("  \"*\": {}").replace("sqlite:a.db", "${DB_URL}");
    let (plan, warnings) =
        resolve_for("p", text.as_bytes(), &Variables::new(), Connect::NONE).expect("a plan");
    assert!(plan.source.url.is_empty());
    assert_eq!((warnings[0].code.as_str(), warnings[0].severity), ("W203", Severity::Warning));
}

#[test]
fn y_15_an_inline_password_is_e114_and_is_shown_nowhere() {
    for url in [
        "postgres://app:canary@db/shop",
        "postgres://app:c@nary:canary/#@db/shop",
        "postgres://app@db/shop?password=canary",
        "postgres://app:canary${X}@db/shop",
        "postgres://app:canary\\x40db/shop",
    ] {
        let text = tables("  \"*\": {}").replace("sqlite:a.db", url);
        let problems = refused(&text);
        assert_eq!(problems[0].code, "E114", "{url}");
        for shown in [
            problem::render("p", text.as_bytes(), &problems, true),
            problem::render_json("p", text.as_bytes(), &problems),
            problem::render_github("p", &problems),
            format!("{problems:?}"),
        ] {
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
    // A key of its own is unknown, and its value is not shown either.
    let text = with("tables: { \"*\": {} }")
        .replace("{ url: \"sqlite:a.db\" }", "{ url: \"sqlite:a.db\", password: canary }");
    let problems = refused(&text);
    assert_eq!(problems[0].code, "E105");
    assert!(!problem::render("p", text.as_bytes(), &problems, false).contains("canary"));
    // A reference is no password.
    let text = tables("  \"*\": {}").replace("sqlite:a.db", "postgres://app:${PW}@db/shop");
    let variables = Variables::from([("PW".to_string(), "canary".to_string())]);
    let (plan, _) = resolve("p", text.as_bytes(), &variables).expect("a plan");
    assert!(!format!("{plan:?}").contains("canary"));
}

#[test]
fn y_17_the_same_entry_twice_is_said() {
    assert_eq!(codes(tables("  users: {}\n  users: skip")), ["E104"]);
    assert_eq!(
        codes(with(
            "tables: { \"*\": {} }\ntypes:\n  - { from: money, to: text }\n  - { from: MONEY, to: text }"
        )),
        ["E120"]
    );
    assert_eq!(
        codes(with(
            "tables: { \"*\": {} }\naccept:\n  - { hazard: D105, at: a.b, reason: x }\n  - { hazard: D105, at: a.b, reason: y }"
        )),
        ["E120"]
    );
}

#[test]
fn y_18_a_bad_pattern_is_e121() {
    for pattern in ["\"\"", "a.b.c", "'\"a'", ".a"] {
        assert_eq!(codes(tables(&format!("  {pattern}: {{}}"))), ["E121"], "{pattern}");
    }
}

#[test]
fn y_20_source_and_target_must_differ() {
    let text = tables("  \"*\": {}").replace("sqlite:b.db", "sqlite:a.db");
    assert_eq!(codes(text), ["E124"]);
}

#[test]
fn y_25_contradictions_are_e129() {
    for entries in ["  \"tmp_*\": { to: tmp }", "  users: { where: \"a > 1\", load: none }"] {
        assert_eq!(codes(tables(entries)), ["E129"], "{entries}");
    }
    let text = with("defaults: { load: none }\ntables: { users: { where: \"a > 1\" } }");
    assert_eq!(codes(text), ["E129"]);
    let text = with("tables: { \"*\": {} }\naccept:\n  - { hazard: D106, reason: x }");
    assert_eq!(codes(text), ["E129"]);
}

#[test]
fn y_25_following_contradicts_itself() {
    for (text, says) in [
        (with("tables: { users: { cdc: true } }"), "no change log"),
        (with("defaults: { cdc: true }\ntables: { \"*\": {} }"), "no change log"),
        (with("tables: { \"*\": {} }\ncdc: { keep_log: 20GB }"), "cdc is set"),
        (with("tables: { \"*\": {} }\ncutover: { max_lag: 5s }"), "cutover is set"),
        (
            with("tables: { users: { cdc: true }, \"t*\": skip }\ncutover: {}")
                .replace("sqlite:a", "postgres://h/a"),
            "",
        ),
        (followed("cdc: { sqlite: triggers }").replace("cdc: true", "cdc: true, load: none"), "load: none"),
        (
            followed("cdc: { sqlite: triggers }\ncutover: {}")
                .replace("cdc: true", "cdc: true, verify: none"),
            "compares nothing",
        ),
        (with("tables: { \"*\": {} }\nreverse: true"), "no table is followed"),
        (followed("reverse: true").replace("sqlite:a", "postgres://h/a"), "the way back follows the target"),
        (followed("cdc: { sqlite: triggers }\nreverse: true"), ""),
    ] {
        if says.is_empty() {
            good(&text);
            continue;
        }
        let problems = refused(&text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert_eq!(problems[0].code, "E129", "{text}");
        assert!(problems[0].message.contains(says), "{text}: {}", problems[0].message);
        assert!(problems[0].span.is_some() && problems[0].help.is_some());
    }
    // An entry that says no for itself follows nothing.
    good(&with("defaults: { cdc: true }\ntables: { users: { cdc: false } }"));
    good(&followed("cdc: { sqlite: triggers }\ncutover: {}"));
}

#[test]
fn following_is_off_unless_asked_for_and_its_settings_are_read() {
    let plan = good(&tables("  \"*\": {}"));
    assert!(!plan.defaults.cdc && plan.cutover.is_none() && plan.cdc == Cdc::default());
    let plan = good(&followed(
        "cdc:\n  { mode: transactional, keep_log: 20GB, acknowledge: spooled, sqlite: triggers, cascades: emulate, read_ahead: true,\n    memory: { limit: 64MiB, keep: 5s }, spill: { dir: /var/spill, limit: 1GiB } }\n\
         cutover:\n  max_lag: 2s\n  sequences: { from: max, margin: 1000 }\n  fence: { roles: [app, jobs] }\n  budget: 30s\n  \
         verify: count\n  checks:\n    - { db: target, sql: \"select 1 where false\" }",
    ));
    assert!(plan.rules[0].policy(&plan.defaults).cdc);
    let cdc = Cdc {
        mode: Mode::Transactional,
        keep_log: Some(20_000_000_000),
        acknowledge: Acknowledge::Spooled,
        memory_bytes: 64 << 20,
        memory_keep: Duration::from_secs(5),
        spill_dir: Some("/var/spill".into()),
        spill_bytes: 1 << 30,
        read_ahead: true,
        triggers: true,
        cascades: true,
    };
    assert_eq!(plan.cdc, cdc);
    let cutover = plan.cutover.expect("a cutover");
    assert_eq!((cutover.max_lag, cutover.budget), (Duration::from_secs(2), Duration::from_secs(30)));
    assert_eq!(
        (cutover.sequences, cutover.margin, cutover.verify),
        (SequencesFrom::Max, 1000, Verify::Count)
    );
    assert_eq!(cutover.fence, Fence::Roles(vec!["app".into(), "jobs".into()]));
    assert_eq!((cutover.checks.len(), cutover.checks[0].db), (1, Which::Target));
}

#[test]
fn y_05_y_06_y_10_keys_of_following_are_judged_as_all_others() {
    let cdc = |inner: &str| followed(&format!("cdc: {{ sqlite: triggers, {inner} }}"));
    let cutover = |inner: &str| followed(&format!("cdc: {{ sqlite: triggers }}\ncutover: {{ {inner} }}"));
    for (text, code, near) in [
        (cdc("mode: bach"), "E106", "batch"),
        (cdc("keep_logs: 1GB"), "E105", "keep_log"),
        (cdc("memory: { limits: 1GiB }"), "E105", "limit"),
        (cdc("keep_log: 20gb"), "E109", "20GB"),
        (cdc("keep_log: 1MB"), "E108", ""),
        (cdc("memory: { keep: 60 }"), "E109", "unit is missing"),
        (cdc("memory: { keep: 1h30 }"), "E109", ""),
        (cutover("max_lag: -5s"), "E109", ""),
        (cutover("max_lag: 0s"), "E108", ""),
        (cutover("fence: table"), "E106", "tables"),
        (cutover("fence: { roles: [] }"), "E106", ""),
        (cutover("fence: { roles: [a, a] }"), "E106", ""),
        (cutover("fence: { roles: [a], budget: 1m }"), "E105", ""),
        (cutover("verify: none"), "E106", ""),
        (cutover("sequences: { margin: -1 }"), "E108", ""),
        (cutover("checks: [{ db: traget, sql: x }]"), "E106", "target"),
        (cutover("checks: [{ db: target }]"), "E106", "add sql"),
    ] {
        let problems = refused(&text);
        assert_eq!(problems[0].code, code, "{text}: {problems:?}");
        let help = problems[0].help.clone().unwrap_or_default();
        assert!(help.contains(near), "{text}: {help}");
    }
}

#[test]
fn y_28_what_is_not_built_is_refused_by_name() {
    for (text, name) in [
        (followed("cdc: { sqlite: triggers, on_ddl: pause }"), "pause"),
        (tables("  users: { load: upsert }"), "upsert"),
        (tables("  users: { protect: true }"), "protect"),
        (tables("  users: { after: [orders] }"), "after"),
        (tables("  users: { columns: { a: { collation: de } } }"), "collation"),
        (tables("  \"*\": {}").replace("source: { ", "source: { engine: oracle, "), "engine"),
    ] {
        let problems = refused(&text);
        assert_eq!(problems.len(), 1, "{text}");
        assert_eq!(problems[0].code, "E132", "{text}");
        assert_eq!(problems[0].message, format!("{name} is not built yet"));
        assert!(problems[0].help.is_some());
    }
    good(&tables("  users: { cdc: false }"));
    good(&followed("cdc: { sqlite: triggers, on_ddl: fail }\nreverse: false"));
}

#[test]
fn y_29_a_lookalike_is_allowed_shown_and_warned_about() {
    let text = tables("  p\u{430}ypal: {}\n  \"a\u{202e}b\": { to: x, columns: { \"c\\u200bd\": skip } }");
    let (plan, warnings) = run(&text).expect("allowed");
    assert_eq!(plan.rules[0].pattern, "p\u{430}ypal");
    assert_eq!(warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>(), ["W201"; 3]);
    let shown = problem::render("p", text.as_bytes(), &warnings, false);
    assert!(
        shown.contains("p\\u{430}ypal") && shown.contains("\\u{202e}") && !shown.contains('\u{202e}'),
        "{shown}"
    );
}

#[test]
fn y_04_a_duplicate_hides_no_other_problem() {
    let text = tables("  a: skip\n  a: {}\n  b: { <<: {}, lod: copy }\nextra: 1");
    assert_eq!(codes(text), ["E104", "E111", "E105", "E105"]);
}

#[test]
fn all_problems_come_at_once_and_in_order() {
    let text = "version: 1\nname: \"a b\"\nsource: { url: \"${NO}\" }\ntables:\n  users: { lod: copy, keys: x }\n  \"b.c.d\": {}\nafter: []\nextra: 1\n";
    let problems = refused(text);
    let lines: Vec<_> = problems.iter().filter_map(|problem| problem.span).map(|span| span.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
    let found: Vec<_> = problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(found, ["E106", "E106", "E113", "E105", "E106", "E121", "E132", "E105"]);
}

#[test]
fn every_example_plan_resolves() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/plans");
    let variables = Variables::from([
        ("SOURCE_URL".to_string(), "postgres://app@db/shop".to_string()),
        ("TARGET_URL".to_string(), "postgres://app@new/shop".to_string()),
    ]);
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).expect("plans/") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a plan");
        let shown = path.display().to_string();
        match resolve(&shown, &bytes, &variables) {
            Ok((plan, problems)) => {
                assert_eq!(problems, [], "{shown}");
                for url in [&plan.source.url, &plan.target.url] {
                    Url::parse(url).unwrap_or_else(|error| panic!("{shown}: {error}"));
                }
            }
            Err(problems) => panic!("{}", problem::render(&shown, &bytes, &problems, false)),
        }
        seen.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    seen.sort();
    let wanted = ["minimal.yaml", "postgres-to-postgres.yaml", "quickstart.yaml", "sqlite-to-postgres.yaml"];
    assert!(wanted.iter().all(|name| seen.iter().any(|found| found == name)), "{seen:?}");
}

// Properties.

/// A URL with a secret in its password, as careless people write it.
fn careless_url() -> impl Strategy<Value = (String, String)> {
    let secret = "[a-zA-Z0-9@:/?#%&=+\\[\\] ,;$!*'()é-]{0,12}";
    let place = prop_oneof!["[a-z]{1,6}", "[a-z]{1,6}:[0-9]{0,6}", "\\[::1\\]", ""];
    (secret, "[a-z]{1,5}", place, "(/[a-z]{0,5})?(\\?[a-z=&]{0,12})?").prop_map(|(odd, user, place, tail)| {
        let secret = format!("QXZJ{odd}KVWQ");
        (format!("postgres://{user}:{secret}@{place}{tail}"), secret)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p_12_no_part_of_a_password_is_ever_shown((url, secret) in careless_url()) {
        let shown = match Url::parse(&url) {
            Ok(parsed) => format!("{parsed} {parsed:?} {:?}", Url::parse_argument(&url)),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains("QXZJ") && !shown.contains("KVWQ"), "{secret}: {shown}");
        let text = format!("version: 1\nname: x\nsource: {{ url: \"{url}\" }}\ntargt: 1\n");
        if let Err(problems) = resolve("p", text.as_bytes(), &Variables::new()) {
            let shown = problem::render("p", text.as_bytes(), &problems, true)
                + &problem::render_json("p", text.as_bytes(), &problems)
                + &format!("{problems:?}");
            prop_assert!(!shown.contains("QXZJ") && !shown.contains("KVWQ"), "{shown}");
        }
    }

    #[test]
    fn p_13_any_bytes_are_a_plan_or_located_problems(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        judge(&bytes)?;
    }

    #[test]
    fn p_13_any_text_near_a_plan_is_a_plan_or_located_problems(
        at in 0usize..700,
        cut in 0usize..40,
        piece in "[ \\n\\t:,&*!{}\\[\\]\"'|>#%$~<a-zé0-9-]{0,12}",
    ) {
        let mut text = include_str!("../plans/postgres-to-postgres.yaml").to_string();
        let floor = |text: &str, at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (from, to) = (floor(&text, at), floor(&text, at + cut));
        text.replace_range(from..to, &piece);
        judge(text.as_bytes())?;
    }
}

/// Resolves, and shows what is wrong in every form.
fn judge(bytes: &[u8]) -> Result<(), TestCaseError> {
    let variables: BTreeMap<_, _> =
        ["SOURCE_URL", "TARGET_URL"].map(|name| (name.to_string(), format!("sqlite:{name}"))).into();
    let problems = match resolve("p", bytes, &variables) {
        Ok((_, warnings)) => warnings,
        Err(problems) => {
            prop_assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            problems
        }
    };
    let text = String::from_utf8_lossy(bytes);
    for problem in &problems {
        let Some(span) = problem.span else {
            prop_assert!(matches!(problem.code.as_str(), "E102" | "E110"), "{problem:?}");
            continue;
        };
        prop_assert!(span.offset <= bytes.len() && span.offset + span.length <= bytes.len(), "{problem:?}");
        prop_assert!(
            span.line >= 1 && span.line <= text.lines().count() + 1 && span.column >= 1,
            "{problem:?}"
        );
        prop_assert!(!problem.message.chars().any(char::is_control), "{problem:?}");
    }
    problem::render("p", bytes, &problems, true);
    problem::render_json("p", bytes, &problems);
    problem::render_github("p", &problems);
    Ok(())
}

#[test]
fn y_11_many_problems_are_bounded_too() {
    let start = thread_time();
    let unknown: String = (0..90_000).map(|at| format!("k{at}: pass:pass:pass:://\n")).collect();
    assert!(refused(&unknown).len() <= 1_000);
    let twice: String = (0..60_000).map(|_| "a: 1\n").collect();
    let problems = refused(&twice);
    let long = format!("version: 1\nx: {}\n", "pass:://".repeat(1 << 20));
    for text in [twice.as_bytes(), long.as_bytes()] {
        problem::render("p", text, &problems, false);
    }
    assert!(thread_time() - start < Duration::from_secs(20));
}

/// The plan's list of hazard codes is what the catalogue can raise, and says the same of stops.
#[test]
fn the_hazards_that_can_be_accepted_are_those_of_the_catalogue() {
    use towpath::diff::{Level, hazard::KINDS};
    for kind in KINDS {
        let known = towpath::plan::keys::HAZARDS.iter().find(|(code, _)| *code == kind.code);
        let (code, acceptable) = known.unwrap_or_else(|| panic!("{} is not known to plans", kind.code));
        assert_eq!(*acceptable, kind.level != Level::Stop, "{code}");
    }
}
