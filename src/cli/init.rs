//! `towpath init`: a first plan as text, from what was inspected. Five lines that work, and
//! comments about what a reviewer should know. Writes no file and opens no database.

use std::collections::BTreeMap;

use super::escape;
use crate::catalog::name::show;
use crate::catalog::noun::counted;
use crate::catalog::{Catalog, KeyKind, Name, Table};
use crate::engine::Url;

/// Names listed in one comment.
const LISTED_MAX: usize = 6;

/// The two `url:` values as the plan will hold them.
#[derive(Clone, Debug)]
pub struct InitUrls {
    pub source: String,
    pub target: String,
}

impl Default for InitUrls {
    fn default() -> Self {
        Self { source: "${SOURCE_URL}".into(), target: "${TARGET_URL}".into() }
    }
}

impl InitUrls {
    /// Files are named in the plan; the URL of a server is a variable, because it holds a secret
    /// or differs from place to place.
    pub fn of(source: Option<&Url>, target: Option<&Url>) -> Self {
        let text = |url: Option<&Url>, variable: String| match url {
            Some(url) if url.host.is_none() => format!("{}:{}", url.scheme(), url.path).replace('$', "$$"),
            _ => variable,
        };
        let usual = Self::default();
        Self { source: text(source, usual.source), target: text(target, usual.target) }
    }
}

/// A name that a plan may have, from a file's or a database's one.
pub fn plan_name(from: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '-' };
    let name: String = from.chars().map(good).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let name: String = name.chars().take(63).collect();
    if name.is_empty() { "migration".into() } else { name }
}

/// The text of a plan that validates. What was not inspected is left open.
pub fn render_init(
    name: &str,
    source: Option<&Catalog>,
    target: Option<&Catalog>,
    urls: &InitUrls,
) -> String {
    let mut out = String::new();
    out.push_str("# A plan for towpath. Nothing is written anywhere until `towpath apply`.\n");
    out.push_str("#   towpath validate    is it well formed?\n");
    out.push_str("#   towpath plan        what would it do?\n");
    out.push_str("version: 1\n");
    out.push_str(&format!("name: {}    # state and lock on the target carry it\n\n", plan_name(name)));
    out.push_str(&end_line("source", &urls.source, source));
    out.push_str(&end_line("target", &urls.target, target));
    out.push_str("\ntables:    # the most specific pattern decides; a table that matches none stays\n");
    for line in patterns(source) {
        out.push_str(&line);
    }
    let findings = findings(source, target);
    if !findings.is_empty() {
        out.push_str("\n# Found while inspecting:\n");
        for finding in findings {
            out.push_str(&format!("#   {}\n", escape::line(&finding)));
        }
    }
    out.push_str(ADVICE);
    out
}

const ADVICE: &str = "
# What an entry of tables can say:
#   tmp_log: skip
#   users: { to: accounts, where: \"deleted_at is null\", columns: { legacy: skip } }
#   big_log: { indexes: none, keys: [primary], verify: count }
#
# A source that is written to meanwhile is followed, and hands over when you say so:
#   defaults: { cdc: true }       # a SQLite file as the source: and cdc: { sqlite: triggers }
#   cutover: { fence: tables }    # closes its tables for writes; without a fence you keep the writers out
# Then: towpath grants, apply, follow, status --watch, cutover.
#
# `towpath schema` prints all keys; `towpath explain CODE` explains a hazard.
";

fn end_line(which: &str, url: &str, catalog: Option<&Catalog>) -> String {
    let about =
        catalog.map(|catalog| format!("    # {}", escape::line(&describe(catalog)))).unwrap_or_default();
    format!("{which}: {{ url: {} }}{about}\n", yaml_text(url))
}

fn describe(catalog: &Catalog) -> String {
    let tables = catalog.tables.len();
    if tables == 0 {
        return format!("{} {}, empty", catalog.engine, catalog.version);
    }
    let rows: u64 = catalog.tables.iter().map(|table| table.rows).sum();
    format!("{} {}, {}, about {rows} rows", catalog.engine, catalog.version, counted(tables, "table"))
}

/// One pattern for each schema with tables.
fn patterns(source: Option<&Catalog>) -> Vec<String> {
    let all = || vec!["  \"*\": {}\n".to_string()];
    let Some(source) = source.filter(|source| !source.tables.is_empty()) else { return all() };
    let mut schemas: BTreeMap<&str, usize> = BTreeMap::new();
    for table in &source.tables {
        *schemas.entry(&table.name.schema).or_default() += 1;
    }
    if schemas.len() == 1 && schemas.contains_key(source.default_schema.as_str()) {
        return all();
    }
    let line = |(schema, tables): (&&str, &usize)| {
        let pattern =
            if *schema == source.default_schema { "*".into() } else { format!("{}.*", literal(schema)) };
        format!(
            "  {}: {{}}    # {} of schema {}\n",
            yaml_text(&pattern),
            counted(*tables, "table"),
            show(schema)
        )
    };
    schemas.iter().map(line).collect()
}

/// A name inside a pattern, with wildcards taken literally.
fn literal(part: &str) -> String {
    let shown = show(part);
    if shown.starts_with('"') || !part.contains(['*', '?']) { shown } else { format!("\"{shown}\"") }
}

fn findings(source: Option<&Catalog>, target: Option<&Catalog>) -> Vec<String> {
    let mut found = Vec::new();
    let Some(source) = source else { return found };
    if source.tables.is_empty() {
        found.push("the source has no tables: is it the right database?".into());
    }
    let mut note = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            found.push(format!("{what}: {}", list(&names)));
        }
    };
    let named = |keep: &dyn Fn(&Table) -> bool| {
        source.tables.iter().filter(|table| keep(table)).map(|table| spell(source, &table.name)).collect()
    };
    note("no primary or unique key, copied as one piece each", named(&|table| !has_key(table)));
    note("row-level security hides rows from this role (P801)", named(&|table| table.hidden_rows.is_some()));
    note("left behind, not carried yet", others(source));
    if let Some(target) = target {
        let there = |table: &Table| target.tables.iter().any(|other| other.name.name == table.name.name);
        note(
            "already on the target, must match; `load: replace` empties them first",
            named(&|table| there(table)),
        );
    }
    found
}

fn has_key(table: &Table) -> bool {
    !table.holds_rows()
        || table.keys.iter().any(|key| matches!(key.kind, KeyKind::Primary | KeyKind::Unique))
        || table.indexes.iter().any(|index| index.unique && index.predicate.is_none())
}

/// `2 views`, `1 function`...
fn others(source: &Catalog) -> Vec<String> {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for other in &source.others {
        *kinds.entry(&other.kind).or_default() += 1;
    }
    kinds.iter().map(|(kind, number)| counted(*number, kind)).collect()
}

fn spell(catalog: &Catalog, name: &Name) -> String {
    if name.schema == catalog.default_schema { show(&name.name) } else { name.to_string() }
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A double-quoted YAML scalar.
fn yaml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if crate::catalog::name::is_hidden(c) => out.push_str(&format!("\\U{:08x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::OtherObject;
    use crate::plan::{Connect, Variables, pattern::Pattern, resolve_for};

    fn catalog(tables: &[(&str, &str)]) -> Catalog {
        let table =
            |(schema, name): &(&str, &str)| Table { name: Name::new(*schema, *name), ..Table::default() };
        let view = OtherObject { kind: "view".into(), name: Name::new("public", "v"), table: None };
        let policy = OtherObject { kind: "policy".into(), name: Name::new("public", "p"), table: None };
        Catalog {
            engine: "postgres".into(),
            version: "15.6".into(),
            default_schema: "public".into(),
            tables: tables.iter().map(table).collect(),
            others: vec![view, policy.clone(), policy],
            ..Catalog::default()
        }
    }

    #[test]
    fn a_first_plan_validates_whatever_the_names_are() {
        let odd =
            [("public", "a\nb: skip"), ("My \"x\" *", "t"), ("\u{202e}r", "t"), ("a.b", "t"), ("q*", "t")];
        let empty = catalog(&[]);
        let odd = catalog(&odd);
        for source in [None, Some(&empty), Some(&odd)] {
            let text = render_init("shop\n: x", source, source, &InitUrls::default());
            let (plan, _) = resolve_for("p", text.as_bytes(), &Variables::new(), Connect::NONE)
                .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
            let Some(source) = source else { continue };
            for table in &source.tables {
                let carried = plan.rules.iter().any(|rule| {
                    Pattern::parse(&rule.pattern).expect("good").matches(&table.name, "public", false)
                });
                assert!(carried, "{}\n{text}", table.name);
            }
        }
    }

    #[test]
    fn what_follows_a_source_is_a_comment_that_holds() {
        let text = render_init("shop", None, None, &InitUrls::default());
        let live = ["#   defaults: ", "#   cutover: "].map(|start| {
            let line = text.lines().find(|line| line.starts_with(start));
            line.expect(start).trim_start_matches("#   ").to_string()
        });
        let text = format!("{text}{}\n", live.join("\n"));
        let (plan, _) = resolve_for("p", text.as_bytes(), &Variables::new(), Connect::NONE)
            .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        assert_eq!(plan.cutover.map(|cutover| cutover.fence), Some(crate::plan::Fence::Tables));
        assert!(plan.defaults.cdc, "{text}");
    }

    #[test]
    fn findings_are_comments() {
        let source = catalog(&[("public", "log"), ("public", "users")]);
        let text =
            render_init("shop", Some(&source), Some(&catalog(&[("app", "users")])), &InitUrls::default());
        assert!(
            text.contains("#   no primary or unique key, copied as one piece each: log, users\n"),
            "{text}"
        );
        assert!(text.contains("#   left behind, not carried yet: 2 policies, 1 view\n"), "{text}");
        assert!(
            text.contains("already on the target, must match; `load: replace` empties them first: users\n")
        );
    }

    #[test]
    fn files_are_named_and_servers_are_variables() {
        let file = Url::parse("sqlite:a$b \"x\".db").expect("a URL");
        let server = Url::parse("postgres://app:canary@db/shop").expect("a URL");
        let urls = InitUrls::of(Some(&file), Some(&server));
        let text = render_init("shop", None, None, &urls);
        assert!(!text.contains("canary") && text.contains("${TARGET_URL}"));
        let (plan, _) =
            resolve_for("p", text.as_bytes(), &Variables::new(), Connect::NONE).expect("a good plan");
        assert_eq!(plan.source.url, "sqlite:a$b \"x\".db");
    }
}
