//! How tables are partitioned. Only a table's own statement tells it whole.
//!
//! ```text
//!   MariaDB   \n PARTITION BY RANGE (year(`d`))\n(PARTITION `p0` VALUES LESS THAN (2020) ENGINE = InnoDB, ...)
//!   MySQL     \n/*!50100 PARTITION BY RANGE (year(`d`))\n(PARTITION p0 VALUES LESS THAN (2020) ENGINE = InnoDB, ...) */
//! ```

use std::collections::BTreeSet;

use super::{Asking, Tables};
use crate::catalog::OtherObject;
use crate::catalog::table::{PARTITION_BY, PARTITIONING};
use crate::engine::EngineError;
use crate::engine::mysql::connect::Flavor;
use crate::engine::mysql::{quote, rename};

/// Gives tables what they are partitioned by, where another server can be told so; lists them all.
/// `known`: tables whose options say so.
pub(super) async fn read(
    asking: &mut Asking<'_>,
    tables: &mut Tables,
    mut known: BTreeSet<String>,
) -> Result<Vec<OtherObject>, EngineError> {
    if asking.flavor == Flavor::MySql {
        // Its options do not say so of a table that is partitioned by KEY ().
        let sql = format!(
            "SELECT DISTINCT TABLE_NAME FROM information_schema.PARTITIONS \
             WHERE TABLE_SCHEMA = {} AND PARTITION_METHOD IS NOT NULL",
            asking.database
        );
        known.extend(asking.rows(&sql).await?.iter_mut().map(|row| row.text(0)));
    }
    let mut found = Vec::new();
    for name in known {
        let Some(table) = tables.get_mut(&name) else { continue };
        found.push(OtherObject { kind: PARTITIONING.into(), name: table.name.clone(), table: None });
        let text = asking.statement(&table.name).await?;
        table.options.extend(said(&text).map(|by| (PARTITION_BY.into(), by)));
    }
    Ok(found)
}

/// What the statement says behind `PARTITION BY`. Line ends in texts are escaped there.
fn said(statement: &str) -> Option<String> {
    let own = statement.rfind("\n PARTITION BY ").map(|at| &statement[at + 1..]);
    let noted = || {
        let noted = &statement[statement.rfind("\n/*!")? + 4..];
        noted.trim_start_matches(|c: char| c.is_ascii_digit()).strip_suffix(" */")
    };
    plain(own.or_else(noted)?.strip_prefix(" PARTITION BY ")?)
}

/// The text in one spelling: single blanks, every name quoted, no word of the engine. None where it says
/// where partitions lie, or what only this server knows.
fn plain(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    // A bare word is a name behind PARTITION, and in the list behind COLUMNS or KEY.
    let (mut name, mut listed, mut list) = (false, false, false);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => rename::string_end(rest),
            '`' => rename::name(rest)?.1,
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (part, after) = rest.split_at(length);
        rest = after;
        match part {
            "DIRECTORY" | "TABLESPACE" | "NODEGROUP" | "SYSTEM_TIME" | "ALGORITHM" if !name && !list => {
                return None;
            }
            "ENGINE" if !name && !list => {
                rest = rest.strip_prefix(" = InnoDB")?;
                out.truncate(out.trim_end().len());
                continue;
            }
            "PARTITION" | "SUBPARTITION" if !name && !list => name = true,
            "BY" if name => name = false,
            "COLUMNS" | "KEY" if !name && !list => listed = true,
            "(" => list = std::mem::take(&mut listed),
            ")" => list = false,
            word if (name || list) && word.starts_with(is_word) => {
                out.push_str(&quote::identifier(word));
                name = false;
                continue;
            }
            blank if blank.trim().is_empty() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
                continue;
            }
            quoted if quoted.starts_with('`') => name = false,
            _ => {}
        }
        out.push_str(part);
    }
    Some(out)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: &str = "RANGE (year(`d`)) (PARTITION `p0` VALUES LESS THAN (2020), PARTITION `p 1` VALUES LESS \
                         THAN MAXVALUE COMMENT = 'it\\'s ENGINE = InnoDB')";

    #[test]
    fn both_spell_it_alike() {
        let maria = "CREATE TABLE `t` (\n  `d` date COMMENT 'x PARTITION BY y'\n) ENGINE=InnoDB COMMENT='a\\n PARTITION BY b'\n \
                     PARTITION BY RANGE (year(`d`))\n(PARTITION `p0` VALUES LESS THAN (2020) ENGINE = InnoDB,\n \
                     PARTITION `p 1` VALUES LESS THAN MAXVALUE COMMENT = 'it\\'s ENGINE = InnoDB' ENGINE = InnoDB)";
        let mysql = "CREATE TABLE `t` (\n  `d` date\n) ENGINE=InnoDB\n\
                     /*!50100 PARTITION BY RANGE (year(`d`))\n(PARTITION p0 VALUES LESS THAN (2020) ENGINE = InnoDB,\n \
                     PARTITION `p 1` VALUES LESS THAN MAXVALUE COMMENT = 'it\\'s ENGINE = InnoDB' ENGINE = InnoDB) */";
        assert_eq!(said(maria).as_deref(), Some(RANGE));
        assert_eq!(said(mysql).as_deref(), Some(RANGE));
        let of = |by: &str| said(&format!(") ENGINE=InnoDB\n/*!50500 PARTITION BY {by} */"));
        assert_eq!(
            of("RANGE  COLUMNS(a,b)\n(PARTITION PARTITION VALUES LESS THAN (10,'m') ENGINE = InnoDB)")
                .as_deref(),
            Some("RANGE COLUMNS(`a`,`b`) (PARTITION `PARTITION` VALUES LESS THAN (10,'m'))")
        );
        assert_eq!(of("LINEAR KEY (x)\nPARTITIONS 3").as_deref(), Some("LINEAR KEY (`x`) PARTITIONS 3"));
        assert_eq!(of("KEY ()\nPARTITIONS 3").as_deref(), Some("KEY () PARTITIONS 3"));
        let under = "RANGE (to_days(`d`))\nSUBPARTITION BY HASH (`id`)\nSUBPARTITIONS 2\n(PARTITION p VALUES LESS THAN (7) ENGINE = InnoDB)";
        assert_eq!(
            of(under).as_deref(),
            Some(
                "RANGE (to_days(`d`)) SUBPARTITION BY HASH (`id`) SUBPARTITIONS 2 (PARTITION `p` VALUES LESS THAN (7))"
            )
        );
    }

    #[test]
    fn what_another_server_cannot_be_told_is_left() {
        let of = |by: &str| said(&format!(") ENGINE=InnoDB\n PARTITION BY {by}"));
        assert_eq!(of("HASH (`id`)\nPARTITIONS 4").as_deref(), Some("HASH (`id`) PARTITIONS 4"));
        assert_eq!(of("HASH (`id`)\n(PARTITION `p0` DATA DIRECTORY = '/x' ENGINE = InnoDB)"), None);
        assert_eq!(of("SYSTEM_TIME LIMIT 10\n(PARTITION `p0` HISTORY ENGINE = InnoDB)"), None);
        assert_eq!(of("HASH (`id`)\n(PARTITION `p0` ENGINE = MyISAM)"), None);
        assert_eq!(said(") ENGINE=InnoDB"), None);
    }
}
