//! The memory engine's capture: reads the history as a server would, with redelivery from an older
//! acknowledgement, connections that break inside a transaction, and an acknowledged position that
//! may go back when the source crashes.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use towpath::catalog::Name;
use towpath::change::{Changes, Datum, Followed, Identity, Position, RowKind};
use towpath::engine::{Capture, CaptureSpec, Cause, ChangeStream, EngineError, Obstacle, Snapshot, Standing};

use super::history::{Change, Logged, Row, split};
use super::world::{Shared, World, lock, pass};

pub struct MemoryCapture(pub Shared);

pub fn position(number: u64) -> Position {
    Position(number.to_string())
}

pub fn number(position: &Position) -> u64 {
    position.0.parse().expect("a position of the memory engine")
}

fn missing() -> EngineError {
    EngineError::new(Cause::Other, "capture", "the memory engine has no such thing")
}

#[async_trait]
impl Capture for MemoryCapture {
    async fn check(&self, _: &CaptureSpec<'_>) -> Result<Vec<Obstacle>, EngineError> {
        Ok(Vec::new())
    }

    async fn standing(&self, _: &str) -> Result<Standing, EngineError> {
        let acknowledged = position(lock(&self.0).acknowledged);
        Ok(Standing::Kept { acknowledged, retained: 0, room: None, active: false })
    }

    async fn open(&self, _: &CaptureSpec<'_>, _: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        Err(missing())
    }

    async fn snapshot(&self, _: &str, _: Duration) -> Result<Box<dyn Snapshot>, EngineError> {
        Err(missing())
    }

    async fn head(&self) -> Result<Position, EngineError> {
        pass(&self.0).await?;
        Ok(position(lock(&self.0).transaction))
    }

    fn reached(&self, at: &Position, goal: &Position) -> bool {
        number(at) >= number(goal)
    }

    fn distance(&self, at: &Position, goal: &Position) -> u64 {
        number(goal).saturating_sub(number(at))
    }

    async fn changes(
        &self,
        spec: &CaptureSpec<'_>,
        from: &Position,
        starts: &[Position],
    ) -> Result<Box<dyn ChangeStream>, EngineError> {
        pass(&self.0).await?;
        let mut world = lock(&self.0);
        if world.acknowledged > number(from) {
            return Err(EngineError::new(Cause::Stale, "read changes", "acknowledged beyond the target"));
        }
        // Now and then the server tells again what comes before.
        let again = world.acknowledged < number(from) && world.random.once_in(2);
        let at = if again { world.acknowledged } else { number(from) };
        if again {
            world.note("told again");
        }
        Ok(Box::new(MemoryChanges {
            world: self.0.clone(),
            tables: spec.tables.to_vec(),
            starts: starts.iter().map(number).collect(),
            at,
            told: None,
            waiting: VecDeque::new(),
            broken: false,
            plain: world.plants.skip_equal.then(|| number(from)),
        }))
    }

    async fn close(&self, _: &str) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
}

/// One record, ready to be told.
#[derive(Clone, Debug)]
enum Told {
    Begin(u64),
    Row(usize, RowKind, Vec<Cell>, Vec<Cell>),
    Truncate(Vec<usize>),
    Commit(u64),
    Reached(u64),
}

type Cell = Option<String>;

struct MemoryChanges {
    world: Shared,
    tables: Vec<Followed>,
    starts: Vec<u64>,
    /// Transactions that begin before it were told.
    at: u64,
    /// What was told last of the log having come somewhere.
    told: Option<u64>,
    waiting: VecDeque<Told>,
    broken: bool,
    /// A planted fault: a transaction that begins just there is passed over.
    plain: Option<u64>,
}

impl MemoryChanges {
    fn place(&self, name: &Name) -> Option<usize> {
        self.tables.iter().position(|table| table.projection.source == *name)
    }

    fn cells(&self, row: &Row) -> Vec<Cell> {
        let (v, w) = split(&row.1);
        vec![Some(row.0.to_string()), Some(v.to_string()), Some(w.to_string())]
    }

    /// What the log says of a row: as little as the identity allows.
    fn told_row(&self, table: usize, old: &Option<Row>, new: &Option<Row>) -> Told {
        let whole = self.tables[table].identity == Identity::Whole;
        let old_cells = |row: &Row| {
            let all = self.cells(row);
            if whole { all } else { vec![all[0].clone(), None, None] }
        };
        match (old, new) {
            (None, Some(new)) => Told::Row(table, RowKind::Insert, Vec::new(), self.cells(new)),
            (Some(old), None) => Told::Row(table, RowKind::Delete, old_cells(old), Vec::new()),
            (Some(old), Some(new)) => {
                let moved = old.0 != new.0;
                let before = if whole || moved { old_cells(old) } else { Vec::new() };
                let (was, mut is) = (self.cells(old), self.cells(new));
                // The third column is large: the log leaves it out where it did not change.
                if was[2] == is[2] {
                    is[2] = None;
                }
                Told::Row(table, RowKind::Update, before, is)
            }
            (None, None) => unreachable!("a change changes something"),
        }
    }

    fn tell(&mut self, logged: &Logged) {
        let mut rows = Vec::new();
        for change in &logged.changes {
            match change {
                Change::Row { table, old, new } => {
                    let place = self.place(table).filter(|place| logged.begin >= self.starts[*place]);
                    rows.extend(place.map(|place| self.told_row(place, old, new)));
                }
                Change::Truncate(names) => {
                    let places = names.iter().filter_map(|name| self.place(name));
                    let places: Vec<usize> =
                        places.filter(|place| logged.begin >= self.starts[*place]).collect();
                    if !places.is_empty() {
                        rows.push(Told::Truncate(places));
                    }
                }
            }
        }
        self.at = logged.begin + 1;
        if rows.is_empty() || self.plain == Some(logged.begin) {
            return;
        }
        self.waiting.push_back(Told::Begin(logged.begin));
        self.waiting.extend(rows);
        self.waiting.push_back(Told::Commit(logged.end));
    }

    /// Looks for more in the log. False where there is nothing.
    fn look(&mut self) -> bool {
        let world = self.world.clone();
        let mut world = lock(&world);
        let next = world.history.log.iter().find(|logged| logged.begin >= self.at).cloned();
        if let Some(logged) = next {
            if world.unreadable == Some(logged.begin) {
                return false;
            }
            self.tell(&logged);
            return true;
        }
        let head = world.transaction;
        let news = self.told.is_none_or(|told| told < head);
        if news && world.random.once_in(3) {
            self.told = Some(head);
            self.at = self.at.max(head);
            self.waiting.push_back(Told::Reached(head));
            return true;
        }
        false
    }

    fn fail(&mut self, error: EngineError) -> EngineError {
        self.broken = true;
        if !matches!(self.waiting.front(), None | Some(Told::Begin(_) | Told::Reached(_))) {
            lock(&self.world).note("broke inside a transaction");
        }
        // A source that crashed remembers an older acknowledgement.
        let mut world = lock(&self.world);
        if world.random.once_in(2) {
            let heard = world.heard.clone();
            world.note("an older acknowledgement is remembered");
            world.acknowledged = world.random.pick(&heard).copied().unwrap_or(world.acknowledged);
        }
        error
    }
}

fn put(into: &mut Changes, cells: &[Cell]) {
    for (at, cell) in cells.iter().enumerate() {
        match cell {
            None => into.push(Datum::Absent),
            Some(text) if at == 0 => into.push(Datum::Int(text.parse().expect("a key"))),
            Some(text) => into.push(Datum::Text(text.as_bytes())),
        }
    }
}

fn write(into: &mut Changes, told: &Told) {
    match told {
        Told::Begin(at) => into.begin(&at.to_string()),
        Told::Row(table, kind, old, new) => {
            into.begin_row(*table, *kind, old.len(), new.len());
            put(into, old);
            put(into, new);
            into.end_row();
        }
        Told::Truncate(tables) => into.truncate(tables, false),
        Told::Commit(at) => into.commit(&at.to_string(), *at as i64),
        Told::Reached(at) => into.reached(&at.to_string()),
    }
}

/// Takes its time, now and then.
pub async fn nap(world: &Shared, one_in: u64) {
    let nap = {
        let mut world = lock(world);
        world.random.once_in(one_in).then(|| world.random.between(1, 400))
    };
    if let Some(millis) = nap {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

/// Others work on the source, also while nobody asks it anything.
pub fn write_on(world: &mut World) {
    if world.writes_left > 0 && world.random.once_in(2) {
        world.writes_left -= 1;
        world.write_logged();
    }
}

#[async_trait]
impl ChangeStream for MemoryChanges {
    async fn next(&mut self, into: &mut Changes, bytes: usize) -> Result<(), EngineError> {
        loop {
            if self.broken {
                return Err(EngineError::new(Cause::Connection, "read changes", "the connection is gone"));
            }
            if let Err(error) = pass(&self.world).await {
                return Err(self.fail(error));
            }
            nap(&self.world, 8).await;
            write_on(&mut lock(&self.world));
            while self.waiting.len() < 6 && self.look() {}
            if !self.waiting.is_empty() {
                break;
            }
            let unreadable = lock(&self.world).unreadable;
            if unreadable.is_some_and(|begin| lock(&self.world).transaction > begin && self.at <= begin) {
                let message = "a column was added to a table that is followed";
                return Err(EngineError::new(Cause::Stale, "read changes", message));
            }
            tokio::time::sleep(Duration::from_millis(64)).await;
        }
        let records = lock(&self.world).random.between(1, 8);
        for _ in 0..records {
            let Some(told) = self.waiting.pop_front() else { break };
            write(into, &told);
            if let Told::Commit(at) = told {
                lock(&self.world).sent(at);
            }
            if into.len() >= bytes {
                break;
            }
        }
        Ok(())
    }

    async fn acknowledge(&mut self, safe: &Position) -> Result<(), EngineError> {
        if let Err(error) = pass(&self.world).await {
            return Err(self.fail(error));
        }
        let mut world = lock(&self.world);
        world.spoken.push(tokio::time::Instant::now());
        world.acknowledge(number(safe));
        Ok(())
    }
}
