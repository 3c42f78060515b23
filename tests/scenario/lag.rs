//! `follow --until-lag`: caught up means caught up with the source, not with what it has told yet.

use crate::need_server;
use crate::support::scenario::Job;

/// A long backlog of small transactions: time and again all that was read is applied, while the
/// source has far more.
#[test]
fn a_backlog_is_applied_to_its_end_before_it_is_called_caught_up() {
    let server = need_server!();
    let (source, target) = (server.database("source"), server.database("target"));
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 50) i",
    );
    let plan = "defaults: { cdc: true }\ntables: { \"*\": {} }\n";
    let job = Job::new(&source.url(), &target.url(), plan);
    job.apply().expect(0);
    source.execute(
        "DO $$ BEGIN FOR i IN 1..20000 LOOP \
         UPDATE t SET n = n + 1 WHERE id = 1 + i % 50; COMMIT; END LOOP; END $$",
    );
    job.run(&["follow", "--until-lag", "0s"]).expect(0).says("Caught up");
    assert_eq!(target.value("SELECT sum(n) FROM t"), "20000");
}
