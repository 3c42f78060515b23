//! Full loads with MySQL at either end: what holds of MariaDB holds of it.

use super::mariadb::{TYPES, to_postgres_sakila};
use super::to_mariadb::{every_type_of_postgres, postgres_chinook, sakila_to_itself};
use crate::support::mariadb::same_as_postgres;
use crate::support::scenario::{EVERYTHING, Job};
use crate::support::{fixture, mysql};
use crate::{need_mysql, need_server};

#[test]
fn mysql_to_postgres_sakila() {
    let source = need_mysql!().database("rental");
    // JSON is a type of its own here.
    let checked =
        "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(details))";
    let sql = fixture::sql("mysql", "sakila_like");
    assert!(sql.contains(checked));
    source.execute(&sql.replace(checked, "json"));
    to_postgres_sakila(&source);
}

#[test]
fn m_01_to_m_22_every_type_of_mysql_to_postgres() {
    let (server, mysql) = (need_server!(), need_mysql!());
    let (source, target) = (mysql.database("types"), server.database("target"));
    source.execute(&mysql::types());
    let encrypted = source.url().replace("sslmode=disable", "sslmode=require");
    Job::new(&encrypted, &target.url(), EVERYTHING).move_all();
    // JSON becomes jsonb, whose text is another one; the tool's own comparison has read it.
    source.execute("ALTER TABLE texts DROP COLUMN j");
    same_as_postgres(&source, &target, "public", &TYPES);
}

#[test]
fn postgres_to_mysql_chinook() {
    postgres_chinook(need_mysql!());
}

#[test]
fn pg_01_to_pg_40_every_type_to_mysql() {
    every_type_of_postgres(need_mysql!());
}

#[test]
fn mysql_to_mysql_sakila() {
    sakila_to_itself(need_mysql!());
}
