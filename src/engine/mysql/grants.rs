//! What a user needs to read for a plan, as the statements that give exactly that. Grants nothing
//! itself.

use std::collections::BTreeSet;

use super::connect::{Flavor, Server, Version};
use super::quote::{identifier, name};
use crate::engine::Duties;

/// The oldest MySQL with a right of its own for the lock of a snapshot.
const FLUSH_TABLES_MIN: Version = Version(8, 0, 23);

/// The right to see how much log there is.
pub(super) fn look(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => "BINLOG MONITOR",
        Flavor::MySql => "REPLICATION CLIENT",
    }
}

/// What following needs beyond the tables. The log is one of the whole server, and so are the rights:
/// to read it, to see it, and on MySQL to take the lock under which a snapshot has its place in it.
pub(super) fn log(server: &Server, user: &str) -> String {
    let lock = match server.flavor {
        Flavor::MariaDb => "",
        Flavor::MySql if server.version < FLUSH_TABLES_MIN => ", RELOAD",
        Flavor::MySql => ", FLUSH_TABLES",
    };
    format!("GRANT REPLICATION SLAVE, {}{lock} ON *.* TO {user}", look(server.flavor))
}

/// For the user that reads: the right to read each table. The position of a snapshot needs no right
/// of its own on MariaDB; what foreign keys do on delete it tells to who may look at all views.
pub(super) fn source(user: &str, server: &Server, duties: &Duties<'_>) -> Vec<String> {
    let flavor = server.flavor;
    let log = duties.follow.then(|| log(server, user));
    let mut objects: Vec<_> = duties.tables.iter().chain(duties.sequences).collect();
    objects.sort();
    objects.dedup();
    let schemas: BTreeSet<_> = objects.iter().map(|object| &object.schema).collect();
    // Without a fence open transactions are looked for, by locks.
    let lock = schemas.clone().into_iter().filter(|_| duties.cutover && !duties.fence);
    let lock = lock.map(|schema| format!("GRANT LOCK TABLES ON {}.* TO {user}", identifier(schema)));
    let look = schemas.into_iter().filter(|_| flavor == Flavor::MariaDb);
    let look = look.map(|schema| format!("GRANT SHOW VIEW ON {}.* TO {user}", identifier(schema)));
    let read = objects.iter().map(|object| format!("GRANT SELECT ON {} TO {user}", name(object)));
    let fence = duties.tables.iter().filter(|_| duties.cutover && duties.fence);
    let fence = fence.map(|table| format!("GRANT TRIGGER ON {} TO {user}", name(table)));
    look.chain(read).chain(log).chain(fence).chain(lock).collect()
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
