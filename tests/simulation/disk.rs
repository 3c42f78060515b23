//! A disk in memory. What was not synchronized survives the end of a process, and perhaps not a
//! loss of power; a file that was removed may be there again after one.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};

use async_trait::async_trait;
use towpath::runtime::spill::Disk;

use super::world::{Shared, World, lock};

#[derive(Clone, Debug, Default)]
pub struct DiskState {
    files: BTreeMap<u64, Vec<u8>>,
    /// What a loss of power leaves for certain, and of removed files perhaps.
    durable: BTreeMap<u64, Vec<u8>>,
    held: bool,
    /// One write in so many finds the disk full; zero: none does.
    pub full_one_in: u64,
    /// Writes and synchronizations there were.
    pub writes: u64,
    pub syncs: u64,
}

impl World {
    /// Only what was synchronized is certain; of the rest any part may be there, or other bytes.
    pub fn lose_power(&mut self) {
        let durable = self.disk.durable.clone();
        let files = std::mem::take(&mut self.disk.files);
        for (number, written) in files {
            let safe = durable.get(&number).map_or(0, Vec::len);
            if !durable.contains_key(&number) && self.random.once_in(2) {
                continue;
            }
            let mut left = written[..safe].to_vec();
            let more = self.random.below((written.len() - safe) as u64 + 1) as usize;
            left.extend_from_slice(&written[safe..safe + more]);
            if more > 0 && self.random.once_in(3) {
                let at = safe + self.random.below(more as u64) as usize;
                left[at] ^= 0x55;
            }
            self.disk.files.insert(number, left);
        }
        for (number, bytes) in durable {
            let removed = !self.disk.files.contains_key(&number);
            if removed && self.random.once_in(3) {
                self.disk.files.insert(number, bytes);
            }
        }
        self.disk.durable = self.disk.files.clone();
    }
}

/// The disk, as one process has it.
pub struct MemoryDisk {
    world: Shared,
    holds: std::sync::atomic::AtomicBool,
}

impl MemoryDisk {
    pub fn new(world: &Shared) -> Self {
        Self { world: world.clone(), holds: Default::default() }
    }

    async fn turn(&self) {
        let turns = lock(&self.world).random.below(3);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        if self.holds.load(std::sync::atomic::Ordering::SeqCst) {
            lock(&self.world).disk.held = false;
        }
    }
}

fn missing() -> Error {
    Error::from(ErrorKind::NotFound)
}

#[async_trait]
impl Disk for MemoryDisk {
    async fn open(&self, create: bool) -> Result<Vec<u64>> {
        self.turn().await;
        let mut world = lock(&self.world);
        let disk = &mut world.disk;
        let mine = self.holds.load(std::sync::atomic::Ordering::SeqCst);
        if disk.held && !mine {
            return Err(Error::from(ErrorKind::WouldBlock));
        }
        if create {
            let DiskState { files, durable, .. } = disk;
            durable.retain(|number, _| files.contains_key(number));
        }
        let disk = &mut world.disk;
        if create || !disk.files.is_empty() {
            disk.held = true;
            self.holds.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        Ok(disk.files.keys().copied().collect())
    }

    async fn length(&self, segment: u64) -> Result<u64> {
        self.turn().await;
        lock(&self.world).disk.files.get(&segment).map(|file| file.len() as u64).ok_or_else(missing)
    }

    async fn append(&self, segment: u64, bytes: Vec<u8>) -> Result<()> {
        self.turn().await;
        let mut world = lock(&self.world);
        let full = world.disk.full_one_in;
        let full = full > 0 && world.random.once_in(full);
        let most = if full { world.random.below(bytes.len() as u64) as usize } else { bytes.len() };
        world.disk.writes += 1;
        if full {
            world.note("the disk is full");
        }
        if !world.disk.files.contains_key(&segment) {
            // A new file of that name.
            world.disk.durable.remove(&segment);
        }
        world.disk.files.entry(segment).or_default().extend_from_slice(&bytes[..most]);
        if full { Err(Error::from(ErrorKind::StorageFull)) } else { Ok(()) }
    }

    async fn read(&self, segment: u64, at: u64, length: usize) -> Result<Vec<u8>> {
        self.turn().await;
        let world = lock(&self.world);
        let file = world.disk.files.get(&segment).ok_or_else(missing)?;
        let bytes = file.get(at as usize..at as usize + length);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))
    }

    async fn sync(&self, segment: u64) -> Result<()> {
        let before = lock(&self.world).disk.files.get(&segment).cloned();
        self.turn().await;
        let mut world = lock(&self.world);
        world.disk.syncs += 1;
        if !world.disk.files.contains_key(&segment) {
            return Err(missing());
        }
        // What is written while it runs may be in it, and is not promised. The names are synchronized
        // too: what was removed stays removed.
        let DiskState { files, durable, .. } = &mut world.disk;
        durable.retain(|number, _| files.contains_key(number));
        durable.insert(segment, before.ok_or_else(missing)?);
        Ok(())
    }

    async fn truncate(&self, segment: u64, length: u64) -> Result<()> {
        self.turn().await;
        let mut world = lock(&self.world);
        let file = world.disk.files.get_mut(&segment).ok_or_else(missing)?;
        file.truncate(length as usize);
        let file = file.clone();
        world.disk.durable.insert(segment, file);
        Ok(())
    }

    async fn remove(&self, segment: u64) -> Result<()> {
        self.turn().await;
        lock(&self.world).disk.files.remove(&segment);
        Ok(())
    }

    fn place(&self, segment: Option<u64>) -> String {
        format!("disk/{}", segment.map_or_else(String::new, |segment| segment.to_string()))
    }
}
