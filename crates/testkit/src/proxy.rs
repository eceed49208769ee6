//! A TCP proxy in front of every broker of a cluster that breaks connections on demand.
//!
//! It reads Kafka's frames, so that a fault meets a whole request or answer of one API. Addresses
//! in answers are replaced by the proxy's own: a client that bootstraps here never learns where
//! the brokers are, while whoever bootstraps at the cluster (the test's own clients, the brokers
//! among themselves) is not disturbed.

mod frames;

use frames::{Asked, Flip, flipped, readdressed};

use crate::Client;
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, MetadataRequest};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Pieces in which a throttled answer is written.
const TRICKLE: Duration = Duration::from_millis(20);

/// What happens to a request or to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset; the request does not arrive.
    Cut,
    /// The request does not arrive, and the connection stays open and silent for ever.
    HalfOpen,
    /// The request arrives; its answer does not, and the connection stays open.
    DropAnswer,
    /// The request arrives; the connection is reset in the middle of the answer.
    CutInAnswer,
    /// The answer comes so much later.
    Delay(Duration),
    /// The answer comes with so many bytes per second.
    Throttle(u64),
    /// One bit of the record batches in a Fetch answer is flipped: of the bits of the first
    /// partition with records, the one with this number, modulo their count.
    FlipInRecords(u64),
    /// One bit of an answer is flipped, behind its length and its correlation id.
    FlipInAnswer(u64),
}

/// Which exchanges a fault meets: all of them, unless it is narrowed.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    fault: Fault,
    api: Option<ApiKey>,
    node: Option<i32>,
    after: u64,
    times: u64,
}

impl Rule {
    /// Every exchange from now on.
    pub fn all(fault: Fault) -> Rule {
        Rule { fault, api: None, node: None, after: 0, times: u64::MAX }
    }

    /// The exchanges of one API.
    pub fn on(api: ApiKey, fault: Fault) -> Rule {
        Rule { api: Some(api), ..Rule::all(fault) }
    }

    /// Only with this broker.
    #[must_use]
    pub fn node(self, node: i32) -> Rule {
        Rule { node: Some(node), ..self }
    }

    /// Not the first `count` of them.
    #[must_use]
    pub fn after(self, count: u64) -> Rule {
        Rule { after: count, ..self }
    }

    /// Only the first `count` of them.
    #[must_use]
    pub fn times(self, count: u64) -> Rule {
        Rule { times: count, ..self }
    }
}

/// A proxy in front of every broker. It ends with the runtime that started it, or when dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    doors: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    /// The proxy's port of each broker.
    ports: BTreeMap<i32, u16>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    hits: u64,
    asked: BTreeMap<i16, u64>,
    /// Bytes of the longest answer of each API.
    longest: BTreeMap<i16, usize>,
}

impl Proxy {
    /// Puts itself in front of every broker that the cluster names. Brokers that die and come back
    /// keep their place.
    pub async fn start(bootstrap: &str) -> Proxy {
        let mut client = Client::connect(bootstrap).await.expect("a broker answers");
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let answer = client.call(&request).await.expect("Metadata is answered");
        let (mut ports, mut listeners) = (BTreeMap::new(), Vec::new());
        for broker in &answer.brokers {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            ports.insert(broker.node_id.0, listener.local_addr().expect("its port").port());
            let target = format!("{}:{}", broker.host, broker.port);
            listeners.push((broker.node_id.0, target, listener));
        }
        let shared = Arc::new(Shared { ports, state: Mutex::default() });
        let doors = listeners.into_iter().map(|(node, target, listener)| {
            tokio::spawn(accept(shared.clone(), node, target, listener)).abort_handle()
        });
        Proxy { doors: doors.collect(), shared }
    }

    /// The proxy's addresses, one for each broker.
    pub fn bootstrap_servers(&self) -> String {
        let all = self.shared.ports.values().map(|port| format!("127.0.0.1:{port}"));
        all.collect::<Vec<_>>().join(",")
    }

    /// Adds a fault; of those that meet an exchange, the one that was added first happens.
    pub fn add(&self, rule: Rule) {
        self.shared.state().rules.push(rule);
    }

    /// Forgets all faults: what comes now passes. Connections that are half open stay so.
    pub fn pass(&self) {
        self.shared.state().rules.clear();
    }

    /// How often a fault happened.
    pub fn hits(&self) -> u64 {
        self.shared.state().hits
    }

    /// Requests of one API that came.
    pub fn requests(&self, api: ApiKey) -> u64 {
        self.shared.state().asked.get(&(api as i16)).copied().unwrap_or(0)
    }

    /// Bits that [`Fault::FlipInAnswer`] has to choose from in the longest answer of one API that
    /// came so far.
    pub fn answer_bits(&self, api: ApiKey) -> u64 {
        let longest = self.shared.state().longest.get(&(api as i16)).copied().unwrap_or(0);
        8 * longest.saturating_sub(frames::CORRELATION) as u64
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.doors.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// The fault of an exchange, if there is one.
    fn fault(&self, node: i32, api: i16) -> Option<Fault> {
        let mut state = self.state();
        *state.asked.entry(api).or_default() += 1;
        let met = state.rules.iter_mut().find_map(|rule| {
            let is_met = rule.api.is_none_or(|a| a as i16 == api)
                && rule.node.is_none_or(|n| n == node)
                && rule.times > 0;
            if !is_met {
                return None;
            }
            if rule.after > 0 {
                rule.after -= 1;
                return None;
            }
            rule.times -= u64::from(rule.times != u64::MAX);
            Some(rule.fault)
        });
        state.hits += u64::from(met.is_some());
        met
    }

    fn measure(&self, api: i16, bytes: usize) {
        let mut state = self.state();
        let longest = state.longest.entry(api).or_default();
        *longest = bytes.max(*longest);
    }

    /// An answer had nothing that the fault could break: the next one will do.
    fn give_back(&self, fault: Fault) {
        let mut state = self.state();
        state.hits -= 1;
        if let Some(rule) = state.rules.iter_mut().find(|r| r.fault == fault) {
            rule.times = rule.times.saturating_add(1);
        }
    }
}

async fn accept(shared: Arc<Shared>, node: i32, target: String, listener: TcpListener) {
    // Dropped with this task: the connections end with their door.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (shared, target) = (shared.clone(), target.clone());
        connections.spawn(async move { serve(&shared, node, &target, client).await });
        while connections.try_join_next().is_some() {}
    }
}

/// One connection. Whatever ends it, the client sees a reset.
async fn serve(shared: &Shared, node: i32, target: &str, client: TcpStream) -> io::Result<()> {
    reset_when_closed(&client)?;
    client.set_nodelay(true)?;
    let broker = TcpStream::connect(target).await?;
    broker.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let asked = Mutex::new(VecDeque::new());
    tokio::select! {
        end = requests(shared, node, from_client, to_broker, &asked) => end,
        end = answers(shared, from_broker, to_client, &asked) => end,
    }
}

#[allow(deprecated, reason = "the time of zero does not block, which is what is warned of")]
fn reset_when_closed(client: &TcpStream) -> io::Result<()> {
    client.set_linger(Some(Duration::ZERO))
}

/// Requests in the order of their answers, with the fault of each.
type Queue = Mutex<VecDeque<(Asked, Option<Fault>)>>;

async fn requests(
    shared: &Shared,
    node: i32,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    queue: &Queue,
) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut from).await?;
        let asked = Asked::parse(&frame)?;
        let fault = shared.fault(node, asked.api);
        match fault {
            Some(Fault::Cut) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::HalfOpen) => loop {
                // What else comes is swallowed, until the client gives up.
                read_frame(&mut from).await?;
            },
            _ => queue.lock().expect("nobody panics with it").push_back((asked, fault)),
        }
        write_frame(&mut to, &frame).await?;
    }
}

async fn answers(
    shared: &Shared,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    queue: &Queue,
) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut from).await?;
        let next = queue.lock().expect("nobody panics with it").pop_front();
        let (asked, fault) = next.ok_or_else(|| io::Error::other("an answer to nothing"))?;
        let frame = readdressed(frame, asked, &shared.ports)?;
        shared.measure(asked.api, frame.len());
        match fault {
            Some(Fault::DropAnswer) => continue,
            Some(Fault::CutInAnswer) => {
                to.write_all(&length(&frame)).await?;
                to.write_all(&frame[..frame.len() / 2]).await?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Throttle(rate)) => {
                trickle(&mut to, &frame, rate).await?;
                continue;
            }
            Some(fault @ (Fault::FlipInRecords(bit) | Fault::FlipInAnswer(bit))) => {
                let within_records = matches!(fault, Fault::FlipInRecords(_));
                let flip = Flip { bit, within_records };
                match flipped(&frame, asked, flip) {
                    Some(broken) => {
                        write_frame(&mut to, &broken).await?;
                        continue;
                    }
                    None => shared.give_back(fault),
                }
            }
            Some(Fault::Cut | Fault::HalfOpen) | None => {}
        }
        write_frame(&mut to, &frame).await?;
    }
}

async fn trickle(to: &mut OwnedWriteHalf, frame: &Bytes, rate: u64) -> io::Result<()> {
    let a_second = u128::from(rate) * TRICKLE.as_millis() / 1_000;
    let piece = usize::try_from(a_second).unwrap_or(usize::MAX).max(1);
    to.write_all(&length(frame)).await?;
    for piece in frame.chunks(piece) {
        to.write_all(piece).await?;
        tokio::time::sleep(TRICKLE).await;
    }
    Ok(())
}

fn length(frame: &Bytes) -> [u8; 4] {
    u32::try_from(frame.len()).expect("a frame of Kafka's").to_be_bytes()
}

async fn read_frame(from: &mut OwnedReadHalf) -> io::Result<Bytes> {
    let length = usize::try_from(from.read_i32().await?).map_err(io::Error::other)?;
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await?;
    Ok(frame.into())
}

async fn write_frame(to: &mut OwnedWriteHalf, frame: &Bytes) -> io::Result<()> {
    to.write_all(&length(frame)).await?;
    to.write_all(frame).await
}
