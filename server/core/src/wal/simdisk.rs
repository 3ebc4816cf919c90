//! A disk in memory that forgets what was not synced, tears writes at sectors, and fails or stops
//! at the n-th operation. Names are durable after a sync of their directory only.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};

use super::SECTOR;
use super::disk::{LogDisk, LogFile};

/// What a crash leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Nothing.
    Lost,
    /// All: only the process was killed.
    Kept,
    /// Single sectors, single lengths, single directories, by this seed.
    Mixed(u64),
}

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It and all later ones fail: the machine stops. A write gets half way, up to
    /// a sector.
    Stop,
    /// It alone fails; a write gets half way, up to a sector.
    Fail,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Debug)]
pub(crate) struct SimFile {
    world: Arc<Mutex<World>>,
    id: usize,
    epoch: u64,
}

#[derive(Debug)]
struct World {
    nodes: Vec<Node>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    /// So many files more find room for what they reserve when they are made.
    room: usize,
    epoch: u64,
}

#[derive(Debug)]
enum Node {
    Dir { names: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
    File { bytes: Vec<u8>, durable: Vec<u8>, locked: bool },
}

impl Default for World {
    fn default() -> Self {
        World { nodes: vec![Node::dir()], operations: 0, fault: None, room: usize::MAX, epoch: 0 }
    }
}

impl Node {
    fn dir() -> Self {
        Node::Dir { names: BTreeMap::new(), durable: BTreeMap::new() }
    }
}

impl SimDisk {
    /// Lets the operation with this number, counted from 0, meet a fault.
    pub(crate) fn fault_at(&self, operation: usize, fault: Fault) {
        self.world().fault = Some((operation, fault));
    }

    /// From now on only so many new files find room for what they reserve.
    pub(crate) fn has_room_for(&self, files: usize) {
        self.world().room = files;
    }

    /// Operations that change something, so far.
    pub(crate) fn operations(&self) -> usize {
        self.world().operations
    }

    /// The machine comes up again; open files are gone.
    pub(crate) fn crash(&self, crash: Crash) {
        let mut world = self.world();
        let mut chance = Chance(if let Crash::Mixed(seed) = crash { seed } else { 0 });
        let mut survives = || match crash {
            Crash::Lost => false,
            Crash::Kept => true,
            Crash::Mixed(_) => chance.next(2) == 1,
        };
        world.fault = None;
        world.epoch += 1;
        for node in &mut world.nodes {
            match node {
                Node::Dir { names, durable } => {
                    if !survives() {
                        names.clone_from(durable);
                    }
                    durable.clone_from(names);
                }
                Node::File { bytes, durable, locked } => {
                    let length = if survives() { bytes.len() } else { durable.len() };
                    let mut left = vec![0; length];
                    for (at, sector) in left.chunks_mut(SECTOR).enumerate() {
                        let from = if survives() { &*bytes } else { &*durable };
                        let old = from.get(at * SECTOR..).unwrap_or_default();
                        let shared = old.len().min(sector.len());
                        sector[..shared].copy_from_slice(&old[..shared]);
                    }
                    bytes.clone_from(&left);
                    *durable = left;
                    *locked = false;
                }
            }
        }
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let id = world.find(path).unwrap();
        let Node::File { bytes, durable, .. } = &mut world.nodes[id] else { panic!("no file") };
        change(bytes);
        durable.clone_from(bytes);
    }

    /// A second disk with the same content.
    pub(crate) fn copy(&self) -> SimDisk {
        let world = self.world();
        let nodes = world.nodes.iter().map(|node| match node {
            Node::Dir { names, durable } => {
                Node::Dir { names: names.clone(), durable: durable.clone() }
            }
            Node::File { bytes, durable, .. } => {
                Node::File { bytes: bytes.clone(), durable: durable.clone(), locked: false }
            }
        });
        let nodes = nodes.collect();
        let world = World { nodes, operations: 0, fault: None, room: world.room, epoch: 0 };
        SimDisk { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn file(&self, id: usize, epoch: u64) -> SimFile {
        SimFile { world: Arc::clone(&self.world), id, epoch }
    }
}

/// A linear congruential generator: the same seed, the same faults.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % below
    }

    /// A byte that is not zero.
    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.next(255)).unwrap() + 1
    }
}

impl World {
    /// Counts an operation; `Err` if it is to fail.
    fn step(&mut self) -> io::Result<()> {
        let operation = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, Fault::Stop)) if operation >= at => Err(io::Error::other("stopped")),
            Some((at, Fault::Fail)) if operation == at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let Node::Dir { names, .. } = &self.nodes[at] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *names.get(name.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn names(&mut self, dir: &Path) -> io::Result<&mut BTreeMap<String, usize>> {
        let id = self.find(dir)?;
        match &mut self.nodes[id] {
            Node::Dir { names, .. } => Ok(names),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn link(&mut self, path: &Path, id: usize) -> io::Result<()> {
        self.names(path.parent().unwrap())?.insert(name_of(path), id);
        Ok(())
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.link(path, id)?;
        Ok(id)
    }

    fn lock(&mut self, id: usize) -> io::Result<()> {
        match &mut self.nodes[id] {
            Node::File { locked: true, .. } => Err(io::ErrorKind::WouldBlock.into()),
            Node::File { locked, .. } => {
                *locked = true;
                Ok(())
            }
            Node::Dir { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn bytes(&mut self, id: usize) -> &mut Vec<u8> {
        match &mut self.nodes[id] {
            Node::File { bytes, .. } => bytes,
            Node::Dir { .. } => panic!("{id} is a directory"),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl LogDisk for SimDisk {
    type File = SimFile;

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.world().names(dir)?.keys().cloned().collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        if world.find(dir).is_err() {
            world.add(dir, Node::dir())?;
        }
        Ok(())
    }

    fn create(&self, path: &Path, length: u64) -> io::Result<SimFile> {
        let mut world = self.world();
        world.step()?;
        let id = match world.find(path) {
            Ok(id) => id,
            Err(_) => world
                .add(path, Node::File { bytes: Vec::new(), durable: Vec::new(), locked: false })?,
        };
        if length > 0 {
            let left = world.room.checked_sub(1);
            world.room = left.ok_or(io::ErrorKind::StorageFull)?;
        }
        world.lock(id)?;
        *world.bytes(id) = vec![0; usize::try_from(length).unwrap()];
        Ok(self.file(id, world.epoch))
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let mut world = self.world();
        let id = world.find(path)?;
        world.lock(id)?;
        Ok(self.file(id, world.epoch))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut world = self.world();
        let id = world.find(path)?;
        Ok(world.bytes(id).clone())
    }

    fn write_whole(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let fault = world.step();
        let id = match world.find(path) {
            Ok(id) => id,
            Err(_) => world
                .add(path, Node::File { bytes: Vec::new(), durable: Vec::new(), locked: false })?,
        };
        let kept = if fault.is_ok() { contents.len() } else { contents.len() / 2 };
        *world.bytes(id) = contents[..kept].to_vec();
        fault?;
        let Node::File { bytes, durable, .. } = &mut world.nodes[id] else { unreachable!() };
        durable.clone_from(bytes);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let id = world.find(from)?;
        world.names(from.parent().unwrap())?.remove(&name_of(from));
        world.link(to, id)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let removed = world.names(path.parent().unwrap())?.remove(&name_of(path));
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        world.names(dir.parent().unwrap())?.remove(&name_of(dir));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let id = world.find(dir)?;
        let Node::Dir { names, durable } = &mut world.nodes[id] else { panic!("no directory") };
        durable.clone_from(names);
        Ok(())
    }
}

impl SimFile {
    fn change(&self, change: impl FnOnce(&mut Vec<u8>, bool)) -> io::Result<()> {
        let mut world = self.world.lock().unwrap();
        assert_eq!(world.epoch, self.epoch, "a file of before the crash");
        let fault = world.step();
        change(world.bytes(self.id), fault.is_ok());
        fault
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.world.lock().unwrap();
        if world.epoch == self.epoch {
            let Node::File { locked, .. } = &mut world.nodes[self.id] else { return };
            *locked = false;
        }
    }
}

impl LogFile for SimFile {
    fn read(&self) -> io::Result<Vec<u8>> {
        Ok(self.world.lock().unwrap().bytes(self.id).clone())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.change(|file, whole| {
            let half = (offset + bytes.len() / 2) / SECTOR * SECTOR;
            let bytes = if whole { bytes } else { &bytes[..half.saturating_sub(offset)] };
            let end = offset + bytes.len();
            file.resize(file.len().max(end), 0);
            file[offset..end].copy_from_slice(bytes);
        })
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        self.change(|file, whole| {
            if whole {
                file.resize(length, 0);
            }
        })
    }

    fn length(&self) -> io::Result<u64> {
        let mut world = self.world.lock().unwrap();
        Ok(world.bytes(self.id).len() as u64)
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        self.change(|file, whole| {
            if whole {
                file.resize(length.max(file.len()), 0);
            }
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut world = self.world.lock().unwrap();
        assert_eq!(world.epoch, self.epoch, "a file of before the crash");
        world.step()?;
        let Node::File { bytes, durable, .. } = &mut world.nodes[self.id] else { unreachable!() };
        durable.clone_from(bytes);
        Ok(())
    }
}
