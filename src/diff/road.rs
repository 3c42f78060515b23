//! What a comparison works with: both ends, who is carried, and how names and texts are said on the
//! target's side. Reads the plan and the catalogs, finds nothing out about the rows.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Dialects;
use super::found::Spot;
use super::meaning;
use super::needed::Used;
use super::typemap::fit;
use crate::catalog::dialect::{Renames, Unspeakable};
use crate::catalog::mentions::PRINTED;
use crate::catalog::name::show;
use crate::catalog::token::tokenize;
use crate::catalog::{Catalog, Column, Dialect, Expr, Name, Table, Type, UserType, UserTypeKind};
use crate::plan::{Plan, Selection, Span, TableIntent, TypeRule};

/// Domains over domains over domains: a catalog cannot hold a cycle, a doctored file can.
pub(super) const MOST_NESTED: usize = 16;

pub(super) struct Road<'a> {
    pub plan: &'a Plan,
    pub source: &'a Catalog,
    pub target: &'a Catalog,
    pub from: &'a dyn Dialect,
    pub to: &'a dyn Dialect,
    /// Both ends are the same engine: native texts are kept.
    pub same: bool,
    /// Objects and schemas; columns are empty here.
    pub renames: Renames,
    intents: HashMap<&'a Name, &'a TableIntent>,
    tables: HashMap<&'a Name, &'a Table>,
    types: HashMap<&'a Name, &'a UserType>,
    collations: HashSet<&'a Name>,
    /// Collations that the source lists as left behind.
    left_collations: HashSet<&'a Name>,
    /// Types that an override may name: the target's, and those that come.
    known: Catalog,
    /// `types:` with its left sides in the source's own spelling, and how often each was used.
    rules: Vec<(String, &'a TypeRule, Cell<bool>)>,
}

impl<'a> Road<'a> {
    pub fn new(
        plan: &'a Plan,
        source: &'a Catalog,
        target: &'a Catalog,
        dialects: Dialects<'a>,
        selection: &'a Selection,
    ) -> Self {
        let same = source.engine == target.engine;
        let schemas = moved_schemas(plan, source, target, dialects.target, same);
        let mut road = Self {
            plan,
            source,
            target,
            from: dialects.source,
            to: dialects.target,
            same,
            renames: Renames { schemas: Arc::new(schemas), ..Renames::default() },
            intents: selection.tables.iter().map(|intent| (&intent.source, intent)).collect(),
            tables: source.tables.iter().map(|table| (&table.name, table)).collect(),
            types: source.types.iter().map(|user_type| (&user_type.name, user_type)).collect(),
            collations: target.collations.iter().collect(),
            left_collations: left_collations(source),
            known: Catalog {
                engine: target.engine.clone(),
                default_schema: target.default_schema.clone(),
                types: target.types.clone(),
                extensions: target.extensions.clone(),
                ..Catalog::default()
            },
            rules: Vec::new(),
        };
        let spelled =
            |text: &str| road.from.normal_type(text, Some(source)).unwrap_or_else(|| text.to_string());
        road.rules = plan.types.iter().map(|rule| (spelled(&rule.from), rule, Cell::new(false))).collect();
        if same {
            let moved = |name| road.renames.object(name);
            let coming =
                source.types.iter().map(|known| UserType { name: moved(&known.name), ..known.clone() });
            road.known.types.extend(coming.collect::<Vec<_>>());
        }
        let goes = selection.tables.iter().map(|intent| (&intent.source, road.target_of(intent)));
        let moved = goes.filter(|(source, to)| *to != road.renames.object(source));
        road.renames.objects = Arc::new(moved.map(|(source, to)| (source.clone(), to)).collect());
        road
    }

    /// Where a carried table goes. A selection knows the plan only; a target of another engine has
    /// a default schema of its own, or one schema for all.
    fn target_of(&self, intent: &TableIntent) -> Name {
        let stays = intent.target.schema == intent.source.schema;
        match self.renames.schemas.get(&intent.source.schema) {
            Some(schema) if stays => Name::new(schema, &intent.target.name),
            _ if !self.same && !self.to.features().schemas => {
                Name::new(&self.target.default_schema, &intent.target.name)
            }
            _ => intent.target.clone(),
        }
    }

    pub fn intent(&self, source: &Name) -> Option<&'a TableIntent> {
        self.intents.get(source).copied()
    }

    pub fn table(&self, source: &Name) -> Option<&'a Table> {
        self.tables.get(source).copied()
    }

    pub fn user_type(&self, name: &Name) -> Option<&'a UserType> {
        self.types.get(name).copied()
    }

    pub fn known(&self) -> &Catalog {
        &self.known
    }

    /// Whether the target has a collation; those of the engine itself are taken as given.
    pub fn has_collation(&self, source: &Name, moved: &Name) -> bool {
        self.from.system_schema(&source.schema) || self.collations.contains(moved)
    }

    /// Whether both servers are of one maker, where an engine has several and versions begin with them.
    pub fn same_maker(&self) -> bool {
        let maker = |catalog: &'a Catalog| catalog.version.split_once(' ').map(|(maker, _)| maker);
        maker(self.source) == maker(self.target)
    }

    /// Whether a collation is one of both ends, which are the same engine.
    pub fn has_both(&self, source: &Name) -> bool {
        self.same && self.collations.contains(&self.renames.object(source))
    }

    /// Whether the source lists a collation as left behind: that is said once, not for each column.
    pub fn leaves_collation(&self, name: &Name) -> bool {
        self.left_collations.contains(name)
    }

    /// What `types:` says about a column: the target's type, and where it says so.
    pub fn type_rule(&self, column: &Column) -> Option<(&'a str, Span)> {
        if self.rules.is_empty() {
            return None;
        }
        let spelled = self.from.normal_type(&column.native, Some(self.source));
        let spelled = spelled.as_ref().unwrap_or(&column.native);
        let (_, rule, used) = self.rules.iter().find(|(from, _, _)| from == spelled)?;
        used.set(true);
        Some((&rule.to, rule.span))
    }

    /// True where the plan says what a column's type is on the target.
    pub fn is_overridden(&self, table: &Name, column: &Column) -> bool {
        self.override_of(table, column).is_some()
    }

    fn override_of(&self, table: &Name, column: &Column) -> Option<&'a str> {
        let rules = self.intent(table).into_iter().flat_map(|intent| &intent.columns);
        let said = rules.filter(|rule| rule.column == column.name).find_map(|rule| rule.ty.as_ref());
        said.map(|(text, _)| text.as_str()).or_else(|| self.type_rule(column).map(|(to, _)| to))
    }

    /// A column's type, or what its domain is over.
    pub fn basis_type(&self, column: &Column) -> Type {
        let mut at = (column.native.clone(), column.ty.clone());
        for _ in 0..MOST_NESTED {
            let base = self.from.mentions(&at.0).into_iter().find_map(|(name, _)| {
                match &self.user_type(&name)?.kind {
                    UserTypeKind::Domain { base, .. } => Some(base.clone()),
                    _ => None,
                }
            });
            match base {
                Some(base) => at = (base.clone(), self.from.parse_type(&base)),
                None => break,
            }
        }
        at.1
    }

    /// The type on the target, as the plan or the type map has it.
    pub fn planned_type(&self, table: &Name, column: &Column) -> Type {
        let said = self.override_of(table, column);
        if let Some(native) = said.and_then(|text| self.to.normal_type(text, Some(&self.known))) {
            return self.to.parse_type(&native);
        }
        let basis = self.basis_type(column);
        if self.same {
            return basis;
        }
        fit(&basis, self.to).map_or(basis, |fit| fit.ty)
    }

    /// What the target itself takes the column for: numbers kept as text are text to it.
    pub fn stored_type(&self, table: &Name, column: &Column) -> Type {
        let said = self.override_of(table, column);
        if let Some(native) = said.and_then(|text| self.to.normal_type(text, Some(&self.known))) {
            return self.to.parse_type(&native);
        }
        let basis = self.basis_type(column);
        fit(&basis, self.to).map_or(basis, |fit| self.to.parse_type(&fit.native))
    }

    /// Takes in what carried tables use of extensions: those stay in their schemas, or are where
    /// the target has them.
    pub fn learn(&mut self, used: &Used) {
        let installed = self.target.extensions.iter().filter(|extension| extension.installed);
        let there: HashMap<&str, &str> =
            installed.map(|extension| (extension.name.as_str(), extension.schema.as_str())).collect();
        let objects = Arc::make_mut(&mut self.renames.objects);
        for (member, extension) in &used.members {
            let schema = there.get(extension.as_str()).copied().unwrap_or(&member.schema);
            objects.insert(member.clone(), Name::new(schema, &member.name));
        }
        // A type can only be asked for by name where its extension will be.
        self.known.extensions.retain(|known| known.installed || used.extensions.contains(&known.name));
    }

    /// Rules of `types:` that no carried column needed.
    pub fn unused_rules(&self) -> impl Iterator<Item = &'a TypeRule> {
        self.rules.iter().filter(|(_, _, used)| !used.get()).map(|(_, rule, _)| *rule)
    }

    /// A text without columns: a default, a type, an operator.
    pub fn reword_bare(&self, native: &str) -> Result<String, Unspeakable> {
        self.reword(native, &Table::default(), &BTreeMap::new())
    }

    /// A native type of the source with the names in it moved.
    pub fn reword_type(&self, native: &str) -> Option<String> {
        if self.same { self.from.rename(native, &self.renames).ok() } else { None }
    }

    /// The target's name of a carried table's column; none where it is skipped.
    pub fn column(&self, table: &Name, column: &str) -> Option<String> {
        let rule = self.intent(table)?.columns.iter().find(|rule| rule.column == column);
        match rule {
            Some(rule) if rule.skip => None,
            Some(rule) => Some(rule.to.as_ref().map_or(column, |(to, _)| to).to_string()),
            None => Some(column.to_string()),
        }
    }

    /// True where sequences of the source become the same on the target.
    pub fn makes_sequences(&self) -> bool {
        self.same && self.to.makes_sequences(self.target)
    }

    /// True where such a column may hold dates that no calendar has.
    pub fn has_zero_dates(&self, ty: &Type) -> bool {
        is_date(ty) && self.from.holds().zero_dates
    }

    /// True where it becomes one that may hold them, too.
    pub fn keeps_zero_dates(&self, from: &Type, to: &Type) -> bool {
        self.has_zero_dates(from) && is_date(to) && self.to.holds().zero_dates
    }

    /// A table in the plan file's spelling: without its schema where that is the default one.
    pub fn at(&self, table: &Name) -> String {
        shown(self.source, table)
    }

    pub fn spot<'b>(&self, table: &'b Name, column: Option<&'b str>) -> Spot<'b>
    where
        'a: 'b,
    {
        let at = match column {
            Some(column) => format!("{}.{}", self.at(table), show(column)),
            None => self.at(table),
        };
        let filter = self.intent(table).and_then(|intent| intent.filter.as_deref());
        Spot { table, column, at, filter }
    }

    /// A text that the source printed, in the target's words. `table`: whose columns it may name;
    /// `columns`: those of them that are renamed.
    pub fn reword(
        &self,
        native: &str,
        table: &Table,
        columns: &BTreeMap<String, String>,
    ) -> Result<String, Unspeakable> {
        if self.same {
            let renames = Renames { columns: columns.clone(), ..self.renames.clone() };
            return self.from.rename(native, &renames);
        }
        self.to.spell_expr(&self.neutral(native, table, columns)?)
    }

    /// A source expression in neutral form with the target's column names.
    pub fn neutral(
        &self,
        native: &str,
        table: &Table,
        columns: &BTreeMap<String, String>,
    ) -> Result<Expr, Unspeakable> {
        let what = || Unspeakable { what: format!("the expression {native}") };
        let mut expr = self.from.parse_expr_of(native, table).ok_or_else(what)?;
        let types = |name: &str| match table.column(name) {
            Some(column) => (self.basis_type(column), self.stored_type(&table.name, column)),
            None => (Type::Any, Type::Any),
        };
        meaning::restore(&mut expr, &types);
        meaning::keep(&expr, &types)?;
        expr.rename(&|name| columns.get(name).cloned());
        Ok(expr)
    }

    /// True when two texts of a table of the target mean the same; none where that cannot be told. One that is
    /// about columns of dates and times only has those as its literals.
    pub fn same_text(&self, a: &str, b: &str, table: &Table) -> Option<bool> {
        self.same_value(a, b, table, None)
    }

    /// As [`Self::same_text`], of texts whose value has this type.
    pub fn same_value(&self, a: &str, b: &str, table: &Table, ty: Option<&Type>) -> Option<bool> {
        if a == b || self.to.same_expr(a, b) {
            return Some(true);
        }
        let (a, b) = (self.to.parse_expr_of(a, table)?, self.to.parse_expr_of(b, table)?);
        let timed = |name: &&str| table.column(name).is_some_and(|column| is_timed(&column.ty));
        let moments = match ty {
            Some(ty) => is_timed(ty),
            None => !a.columns().is_empty() && a.columns().iter().all(timed),
        };
        Some(a == b || a.settled(moments) == b.settled(moments))
    }

    /// The first of these columns that a native text of the source names. A text that cannot be
    /// cut into words is searched as a whole: better one object too many left behind than a broken
    /// one made.
    pub fn names_one_of(&self, native: &str, columns: &BTreeSet<String>) -> Option<String> {
        if columns.is_empty() {
            return None;
        }
        if let Some(expr) = self.from.parse_expr(native) {
            return expr.columns().into_iter().find(|name| columns.contains(*name)).map(str::to_string);
        }
        match tokenize(native, &PRINTED) {
            Ok(tokens) => {
                let mut names = tokens.iter().filter_map(|token| token.name());
                names.find(|name| columns.contains(name.as_ref())).map(|name| name.into_owned())
            }
            Err(_) => columns.iter().find(|name| native.contains(name.as_str())).cloned(),
        }
    }
}

fn left_collations(source: &Catalog) -> HashSet<&Name> {
    let others = source.others.iter().filter(|other| other.kind == "collation");
    others.map(|other| &other.name).collect()
}

fn is_date(ty: &Type) -> bool {
    matches!(ty, Type::Date | Type::Timestamp { .. } | Type::TimestampTz { .. })
}

fn is_timed(ty: &Type) -> bool {
    is_date(ty) || matches!(ty, Type::Time { .. })
}

/// A table of a source in the plan file's spelling.
pub fn shown(source: &Catalog, table: &Name) -> String {
    if table.schema == source.default_schema { show(&table.name) } else { table.to_string() }
}

/// Schemas that move as a whole: the source's default one to the target's, and where the target
/// has no schemas all of them to its one.
fn moved_schemas(
    plan: &Plan,
    source: &Catalog,
    target: &Catalog,
    dialect: &dyn Dialect,
    same: bool,
) -> BTreeMap<String, String> {
    let mut moved = BTreeMap::new();
    if !same && !dialect.features().schemas {
        let schemas = source.tables.iter().map(|table| &table.name.schema);
        moved.extend(schemas.map(|schema| (schema.clone(), target.default_schema.clone())));
    }
    let to = match &plan.target.schema {
        Some(schema) => Some(schema),
        None if !same || !dialect.features().schemas => Some(&target.default_schema),
        None => None,
    };
    if let Some(schema) = to.filter(|schema| **schema != source.default_schema) {
        moved.insert(source.default_schema.clone(), schema.clone());
    }
    moved
}
