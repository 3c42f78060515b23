//! There and back with MySQL at one end or at both.

use super::mariadb::{
    SCHEMA, from_postgresql_and_back, killed_and_back, printed_grants_are_enough, to_postgresql_and_back,
};
use crate::need_mysql;

/// With the collation that compares bytes here.
fn schema() -> String {
    SCHEMA.replace("utf8mb4_nopad_bin", "utf8mb4_0900_bin")
}

#[test]
fn from_mysql_to_postgresql_and_back() {
    to_postgresql_and_back(need_mysql!(), &schema());
}

#[test]
fn from_postgresql_to_mysql_and_back() {
    from_postgresql_and_back(need_mysql!());
}

#[test]
fn f_71_from_mysql_to_mysql_killed_and_back() {
    killed_and_back(need_mysql!(), &schema(), &["cut::point_of_no_return", "cut::sealed"]);
}

#[test]
fn p_802_the_printed_grants_are_enough_for_mysql_there_and_back() {
    let log = "REPLICATION SLAVE, REPLICATION CLIENT, FLUSH_TABLES";
    printed_grants_are_enough(need_mysql!(), &schema(), log);
}
