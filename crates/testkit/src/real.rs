//! Apache Kafka (KRaft) in processes of its own, from the jars that Maven put into the cache.
//!
//! Every start has a fresh data directory and free ports. The Java process hangs on a pipe that
//! this process holds: however this process ends, Kafka ends with it.

use crate::Client;
use crate::setup::{cache_dir, missing, repository_root, skip_or_fail};
use kafka_protocol::messages::MetadataRequest;
use millstream_core::{Error, Result};
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const VERSION: &str = "4.3.1";
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Tells the guard of a broker that is ended to leave the data of a shared cluster where it is.
const KEEP: &str = "pid.keep";
/// Starts again with other ports where somebody else was faster to take them.
const ATTEMPTS: usize = 3;

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct RealKafkaConfig {
    /// Brokers; the first is the controller as well.
    pub brokers: usize,
    /// Lines added to every `server.properties`.
    pub properties: Vec<(String, String)>,
    /// Java heap of each broker in MiB.
    pub heap_mib: usize,
}

impl Default for RealKafkaConfig {
    fn default() -> Self {
        RealKafkaConfig { brokers: 1, properties: Vec::new(), heap_mib: 512 }
    }
}

/// A running cluster. Dropping it kills its processes and removes its data.
#[derive(Debug)]
pub struct RealKafka {
    nodes: Vec<RealNode>,
    libs: PathBuf,
    heap_mib: usize,
    data: TempDir,
    /// Never dropped: the guard removes the data when this process ends.
    shared: bool,
}

#[derive(Debug)]
struct RealNode {
    id: usize,
    dir: PathBuf,
    port: u16,
    process: Option<Process>,
}

/// The shell that guards one Java process.
#[derive(Debug)]
struct Process {
    guard: Child,
    /// The pipe whose end ends Java.
    leash: Option<ChildStdin>,
    pid: u32,
}

impl RealKafka {
    /// One broker.
    ///
    /// # Errors
    /// `TEST_PART_MISSING` without Java or jars, `REAL_KAFKA_START` where it does not come up.
    pub fn start() -> Result<RealKafka> {
        Self::start_with(&RealKafkaConfig::default())
    }

    /// A cluster.
    ///
    /// # Errors
    /// `TEST_PART_MISSING` without Java or jars, `REAL_KAFKA_START` where it does not come up.
    pub fn start_with(config: &RealKafkaConfig) -> Result<RealKafka> {
        Self::launch_cluster(config, false)
    }

    /// One broker for all tests of a test binary: Java starts once. Use topics of your own, and
    /// leave the broker running. `None`, after a loud SKIP, where jars or Java are missing.
    pub fn shared() -> Option<&'static RealKafka> {
        static SHARED: OnceLock<Option<RealKafka>> = OnceLock::new();
        let start = || Self::launch_cluster(&RealKafkaConfig::default(), true);
        SHARED.get_or_init(|| skip_or_fail("Apache Kafka", start())).as_ref()
    }

    /// A cluster to keep in a `static`, which is never dropped: it ends with this process, and its
    /// data goes with it.
    ///
    /// # Errors
    /// `TEST_PART_MISSING` without Java or jars, `REAL_KAFKA_START` where it does not come up.
    pub fn start_shared(config: &RealKafkaConfig) -> Result<RealKafka> {
        Self::launch_cluster(config, true)
    }

    fn launch_cluster(config: &RealKafkaConfig, shared: bool) -> Result<RealKafka> {
        let libs = libs()?;
        let mut failure = failed("never tried");
        for _ in 0..ATTEMPTS {
            match Self::attempt(config, &libs, shared) {
                Ok(kafka) => return Ok(kafka),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn attempt(config: &RealKafkaConfig, libs: &Path, shared: bool) -> Result<RealKafka> {
        let data = tempfile::Builder::new().prefix("millstream-kafka-").tempdir().map_err(io)?;
        let ports = free_ports(config.brokers + 1)?;
        let controller = ports[config.brokers];
        let mut nodes = Vec::new();
        for (id, port) in ports.iter().copied().take(config.brokers).enumerate() {
            let dir = data.path().join(format!("node-{id}"));
            fs::create_dir_all(&dir).map_err(io)?;
            let properties = server_properties(id, &dir, port, controller, &config.properties);
            fs::write(dir.join("server.properties"), properties).map_err(io)?;
            format(libs, &dir)?;
            nodes.push(RealNode { id, dir, port, process: None });
        }
        let (libs, heap_mib) = (libs.to_path_buf(), config.heap_mib);
        let mut kafka = RealKafka { nodes, libs, heap_mib, data, shared };
        for id in 0..config.brokers {
            kafka.launch(id)?;
        }
        kafka.wait_ready()?;
        Ok(kafka)
    }

    /// Addresses of all brokers.
    pub fn bootstrap_servers(&self) -> String {
        let all = self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port));
        all.collect::<Vec<_>>().join(",")
    }

    /// Where the cluster keeps its data.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Process id of a broker that runs.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes.get(node)?.process.as_ref().map(|p| p.pid)
    }

    /// Address of one broker.
    pub fn address(&self, node: usize) -> Option<String> {
        self.nodes.get(node).map(|n| format!("127.0.0.1:{}", n.port))
    }

    /// Kills a broker with SIGKILL and waits until it is gone.
    pub fn kill(&mut self, node: usize) {
        self.end(node, None);
    }

    /// Stops a broker with SIGTERM and waits until it is gone.
    pub fn stop(&mut self, node: usize) {
        self.end(node, Some("TERM"));
    }

    fn end(&mut self, node: usize, signal: Option<&str>) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        if let Some(process) = node.process.take() {
            fs::write(node.dir.join(KEEP), "").expect("a mark beside the data");
            process.end(signal);
        }
    }

    /// Starts a broker that was stopped or killed, on its old port and data, and waits until the
    /// cluster answers.
    ///
    /// # Errors
    /// `REAL_KAFKA_START`.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.launch(node)?;
        self.wait_ready()
    }

    /// Starts all brokers that do not run, at once.
    ///
    /// # Errors
    /// `REAL_KAFKA_START`.
    pub fn restart_all(&mut self) -> Result<()> {
        let dead = self.nodes.iter().filter(|n| n.process.is_none()).map(|n| n.id);
        for node in dead.collect::<Vec<_>>() {
            self.launch(node)?;
        }
        self.wait_ready()
    }

    fn launch(&mut self, id: usize) -> Result<()> {
        let heap = format!("-Xmx{}m", self.heap_mib);
        let class_path = self.libs.join("*");
        let node = self.nodes.get_mut(id).ok_or_else(|| failed("no such broker"))?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(node.dir.join("kafka.log"))
            .map_err(io)?;
        // The shell writes Java's id, then waits for the end of the pipe and kills it.
        let script = r#"pidfile=$1; shift; exec 3<&0; "$@" </dev/null 3<&- & java=$!
            echo $java > "$pidfile.tmp"; mv "$pidfile.tmp" "$pidfile"
            cat <&3 >/dev/null; kill -KILL $java 2>/dev/null; wait $java 2>/dev/null
            [ -z "$REMOVE" ] || [ -e "$pidfile.keep" ] || rm -rf "$REMOVE"; exit 0"#;
        let pid_file = node.dir.join("pid");
        let _ = fs::remove_file(&pid_file);
        let _ = fs::remove_file(node.dir.join(KEEP));
        let mut guard = Command::new("sh")
            .args(["-c", script, "kafka-guard"])
            .arg(&pid_file)
            .arg("java")
            .args([heap.as_str(), "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-cp")
            .arg(class_path)
            .arg("kafka.Kafka")
            .arg(node.dir.join("server.properties"))
            .env("REMOVE", if self.shared { self.data.path().as_os_str() } else { "".as_ref() })
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(io)?)
            .stderr(log)
            .spawn()
            .map_err(io)?;
        let leash = guard.stdin.take();
        let until = Instant::now() + START_TIMEOUT;
        let pid = loop {
            let written = fs::read_to_string(&pid_file).ok().and_then(|p| p.trim().parse().ok());
            if let Some(pid) = written {
                break pid;
            }
            if Instant::now() > until {
                return Err(failed("Java was not started"));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        node.process = Some(Process { guard, leash, pid });
        Ok(())
    }

    /// Waits until every broker that runs knows the whole cluster.
    fn wait_ready(&mut self) -> Result<()> {
        let until = Instant::now() + START_TIMEOUT;
        let running: Vec<usize> =
            self.nodes.iter().filter(|n| n.process.is_some()).map(|n| n.id).collect();
        for id in &running {
            while let Some(node) = self.nodes.get(*id) {
                if brokers_seen(node.port) >= running.len() {
                    break;
                }
                let dead = node.process.as_ref().is_none_or(|p| !alive(p.pid));
                if dead || Instant::now() > until {
                    return Err(failed(format!("no readiness; its log ends:\n{}", node.log_end())));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

/// A command-line tool of Kafka, with its class path: add arguments and run it.
///
/// # Errors
/// `TEST_PART_MISSING` without Java or jars.
pub fn kafka_tool(class: &str) -> Result<Command> {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(libs()?.join("*")).arg(class).stdin(Stdio::null());
    Ok(command)
}

impl RealNode {
    fn log_end(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(self.dir.join("kafka.log")) {
            let _ = file.read_to_string(&mut text);
        }
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().rev().take(40).rev().copied().collect::<Vec<_>>().join("\n")
    }
}

impl Process {
    fn end(mut self, signal: Option<&str>) {
        if let Some(signal) = signal {
            let _ =
                Command::new("kill").arg(format!("-{signal}")).arg(self.pid.to_string()).status();
            let until = Instant::now() + Duration::from_secs(30);
            while alive(self.pid) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.release();
    }

    fn release(&mut self) {
        drop(self.leash.take());
        let _ = self.guard.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.release();
    }
}

/// Whether a process runs; one that ended and was not waited for does not.
fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| {
        let state = rest.trim_start();
        !state.is_empty() && !state.starts_with('Z') && !state.starts_with('X')
    })
}

/// How many brokers the one at `port` knows; 0 while it does not answer.
fn brokers_seen(port: u16) -> usize {
    let ask = async move {
        let address = format!("127.0.0.1:{port}");
        let mut client = Client::connect(&address).await.ok()?;
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        client.call(&request).await.ok().map(|m| m.brokers.len())
    };
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let limit = Duration::from_secs(10);
        runtime.block_on(async { tokio::time::timeout(limit, ask).await.ok().flatten() })
    };
    // A thread of its own: the caller may be inside of a runtime.
    std::thread::spawn(work).join().ok().flatten().unwrap_or(0)
}

/// The directory of the jars, fetched by Maven where they are missing.
fn libs() -> Result<PathBuf> {
    let java = Command::new("java")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|e| missing("Java is not installed.").caused_by(e))?;
    if !java.success() {
        return Err(missing("Java does not run."));
    }
    let dir = cache_dir().join(format!("kafka-{VERSION}"));
    let (libs, done) = (dir.join("libs"), dir.join("complete"));
    if done.exists() {
        return Ok(libs);
    }
    fs::create_dir_all(&dir).map_err(io)?;
    // Test binaries run at once; one fetches, the others wait for it.
    let lock = File::create(dir.join(".lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    if !done.exists() {
        let pom = repository_root().join("tests/real/kafka/pom.xml");
        let fetched = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-Dmaven.repo.local={}", cache_dir().join("m2").display()))
            .arg(format!("-DoutputDirectory={}", libs.display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| missing("Maven is not installed.").caused_by(e))?;
        if !fetched.status.success() {
            let said = String::from_utf8_lossy(&fetched.stdout).into_owned();
            return Err(missing(format!("Maven cannot fetch Apache Kafka: {said}")));
        }
        fs::copy(&pom, &done).map_err(io)?;
    }
    Ok(libs)
}

fn format(libs: &Path, dir: &Path) -> Result<()> {
    let done = Command::new("java")
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(libs.join("*"))
        .args(["kafka.tools.StorageTool", "format", "-t", "bWlsbHN0cmVhbS10ZXN0MQ", "-c"])
        .arg(dir.join("server.properties"))
        .output()
        .map_err(io)?;
    if done.status.success() {
        return Ok(());
    }
    Err(failed(format!("format: {}", String::from_utf8_lossy(&done.stderr))))
}

fn server_properties(
    id: usize,
    dir: &Path,
    port: u16,
    controller: u16,
    extra: &[(String, String)],
) -> String {
    let (roles, listeners) = if id == 0 {
        let both = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
        ("broker,controller", both)
    } else {
        ("broker", format!("PLAINTEXT://127.0.0.1:{port}"))
    };
    let mut text = format!(
        "process.roles={roles}\n\
         node.id={id}\n\
         listeners={listeners}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.quorum.voters=0@127.0.0.1:{controller}\n\
         log.dirs={}\n",
        dir.join("data").display()
    );
    text.push_str(SETTINGS);
    for (name, value) in extra {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

/// One replica of everything, few internal partitions, no waiting, no retention by time: records
/// of tests have old timestamps.
const SETTINGS: &str = "\
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.hours=-1
log.segment.delete.delay.ms=0
num.network.threads=2
num.io.threads=2
num.replica.fetchers=1
log.cleaner.dedupe.buffer.size=4194304
";

fn free_ports(count: usize) -> Result<Vec<u16>> {
    // All are held at once, so that they differ.
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()
        .map_err(io)?;
    held.iter().map(|l| l.local_addr().map(|a| a.port()).map_err(io)).collect()
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::unavailable("REAL_KAFKA_START", format!("Apache Kafka does not start: {why}"))
}

fn io(error: std::io::Error) -> Error {
    failed("an operation of the system failed").caused_by(error)
}
