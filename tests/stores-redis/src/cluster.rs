//! A cluster of three masters.

use std::io;

use kt_fault_proxy::free_port;

use crate::server::Server;
use crate::tls;

/// How many slots there are.
const SLOTS: usize = 16_384;
const NODES: usize = 3;

/// Three masters that share the slots.
#[derive(Debug)]
pub struct Cluster {
    /// The masters.
    pub nodes: Vec<Server>,
}

// === impl Cluster ===

impl Cluster {
    /// Starts one, and waits until each of them finds it whole.
    ///
    /// # Errors
    /// Where there is none to start, or they do not agree.
    pub fn start() -> io::Result<Self> {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..NODES {
            // Not the port plus 10,000, which may be none.
            let bus = free_port()?.to_string();
            let settings = [
                ("cluster-enabled", "yes"),
                ("cluster-port", &bus),
                ("cluster-node-timeout", "2000"),
            ];
            nodes.push(Server::start_with(&settings)?);
            buses.push(bus);
        }
        let each = SLOTS.div_ceil(NODES);
        for (number, node) in nodes.iter().enumerate() {
            let first = (number * each).to_string();
            let last = (((number + 1) * each).min(SLOTS) - 1).to_string();
            node.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])
                .map_err(io::Error::other)?;
            for (other, bus) in nodes.iter().zip(&buses) {
                let port = other.port.to_string();
                let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, bus];
                node.run::<()>(&meet).map_err(io::Error::other)?;
            }
        }
        let cluster = Self { nodes };
        cluster.agrees()?;
        Ok(cluster)
    }

    /// Its URL: one node, which names the others.
    ///
    /// # Errors
    /// Where it has no nodes.
    pub fn url(&self) -> io::Result<String> {
        let first = self.nodes.first().ok_or_else(|| io::Error::other("no nodes"))?;
        Ok(format!("{}-cluster://127.0.0.1:{}", tls::scheme(), first.port))
    }

    /// Its URL, with all of its nodes.
    #[must_use]
    pub fn url_of_all(&self) -> String {
        let hosts: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// In which slot a key of that name is, and the number of the master that has it at the start.
    ///
    /// # Errors
    /// What a master says.
    pub fn slot(&self, name: &str) -> redis::RedisResult<(usize, usize)> {
        let [first, ..] = self.nodes.as_slice() else { return Ok((0, 0)) };
        let slot: usize = first.run(&["CLUSTER", "KEYSLOT", name])?;
        Ok((slot, slot / SLOTS.div_ceil(NODES)))
    }

    /// Gives a slot, with what is in it, to another master.
    ///
    /// # Errors
    /// What they say.
    pub fn move_slot(&self, slot: usize, from: usize, to: usize) -> redis::RedisResult<()> {
        self.begin_moving(slot, from, to)?;
        self.end_moving(slot, from, to)
    }

    /// The first half of that: both masters know that the slot moves, and nothing of it has.
    ///
    /// # Errors
    /// What they say.
    pub fn begin_moving(&self, slot: usize, from: usize, to: usize) -> redis::RedisResult<()> {
        let (Some(source), Some(target)) = (self.nodes.get(from), self.nodes.get(to)) else {
            return Ok(());
        };
        target.set_slot(slot, "IMPORTING", source)?;
        source.set_slot(slot, "MIGRATING", target)
    }

    /// The other half.
    ///
    /// # Errors
    /// What they say.
    pub fn end_moving(&self, slot: usize, from: usize, to: usize) -> redis::RedisResult<()> {
        let (Some(source), Some(target)) = (self.nodes.get(from), self.nodes.get(to)) else {
            return Ok(());
        };
        let keys: Vec<String> =
            source.run(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"])?;
        let port = target.port.to_string();
        for key in keys {
            source.run::<()>(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"])?;
        }
        target.set_slot(slot, "NODE", target)?;
        source.set_slot(slot, "NODE", target)
    }

    fn agrees(&self) -> io::Result<()> {
        for node in &self.nodes {
            node.waits_until(|node| {
                let info: String = node.run(&["CLUSTER", "INFO"])?;
                Ok(info.contains("cluster_state:ok") && info.contains("cluster_size:3"))
            })?;
        }
        Ok(())
    }
}

// === impl Server ===

impl Server {
    /// Tells a node of a cluster what becomes of a slot, and of whom.
    fn set_slot(&self, slot: usize, state: &str, other: &Self) -> redis::RedisResult<()> {
        let id: String = other.run(&["CLUSTER", "MYID"])?;
        self.run(&["CLUSTER", "SETSLOT", &slot.to_string(), state, &id])
    }
}
