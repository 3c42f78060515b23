//! What a user needs to read for a plan, as the statements that give exactly that. Grants nothing
//! itself.

use std::collections::BTreeSet;

use super::connect::Flavor;
use super::quote::{identifier, name};
use crate::engine::Duties;

/// For the user that reads: the right to read each table. The position of a snapshot needs no right
/// of its own; what foreign keys do on delete is told by MariaDB to who may look at all views.
pub(super) fn source(user: &str, flavor: Flavor, duties: &Duties<'_>) -> Vec<String> {
    // The log is one of the whole server, and so is the right to read it.
    let log = format!("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {user}");
    let log = (duties.follow && flavor == Flavor::MariaDb).then_some(log);
    let mut objects: Vec<_> = duties.tables.iter().chain(duties.sequences).collect();
    objects.sort();
    objects.dedup();
    let schemas: BTreeSet<_> = objects.iter().map(|object| &object.schema).collect();
    let look = schemas.into_iter().filter(|_| flavor == Flavor::MariaDb);
    let look = look.map(|schema| format!("GRANT SHOW VIEW ON {}.* TO {user}", identifier(schema)));
    let read = objects.iter().map(|object| format!("GRANT SELECT ON {} TO {user}", name(object)));
    let fence = duties.tables.iter().filter(|_| duties.cutover);
    let fence = fence.map(|table| format!("GRANT TRIGGER ON {} TO {user}", name(table)));
    look.chain(read).chain(log).chain(fence).collect()
}

/// For the user that writes: what makes tables and fills them, in the database of the target. The
/// state that is kept there needs nothing more.
pub(super) fn target(user: &str, database: &str, duties: &Duties<'_>) -> Vec<String> {
    if !duties.load && !duties.follow && !duties.cutover {
        return Vec::new();
    }
    let rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, SHOW VIEW, TRIGGER";
    vec![format!("GRANT {rights} ON {}.* TO {user}", identifier(database))]
}
