//! Starts brokers on free loopback ports, breaks them on request, and leaves nothing behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, process};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::distribution::Distribution;
use super::proxy::Proxy;

const START_WITHIN: Duration = Duration::from_secs(90);
const HEAP: &str = "512m";

/// An Apache Kafka of one combined broker and controller or several, or the one that
/// `OVERDUE_TEST_KAFKA=host:port` names.
pub struct Kafka {
    bootstrap: String,
    cluster: Option<Cluster>,
}

impl Kafka {
    /// Returns the broker that all tests of this process share.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Kafka>> = OnceLock::new();
        SHARED.get_or_init(|| Self::given().or_else(|| Self::start(1))).as_ref()
    }

    /// Starts a broker that may be broken; none where a Kafka is given, for nobody's Kafka is broken.
    pub fn own() -> Option<Self> {
        let is_given = env::var("OVERDUE_TEST_KAFKA").is_ok_and(|given| !given.is_empty());
        if is_given { None } else { Self::start(1) }
    }

    /// Starts brokers of its own, stopped when the value is dropped or the process ends in any way.
    pub fn start(brokers: usize) -> Option<Self> {
        Self::start_with(brokers, &[])
    }

    /// Starts brokers of its own that have more properties; one that is there already is added to, by commas.
    pub fn start_with(brokers: usize, properties: &[(&str, String)]) -> Option<Self> {
        match Distribution::get() {
            Ok(distribution) => {
                let cluster = Cluster::start(distribution, brokers, properties);
                Some(Self { bootstrap: cluster.bootstrap(), cluster: Some(cluster) })
            }
            Err(missing) => skip(&missing),
        }
    }

    /// As [`Kafka::start`], on disks of a size that can be filled, where this process may mount any.
    pub fn start_with_disk_of(brokers: usize, mebibytes: usize) -> Option<Self> {
        match Distribution::get() {
            Ok(distribution) => {
                let cluster = Cluster::start_on(distribution, brokers, &[], Some(mebibytes));
                Some(Self { bootstrap: cluster.bootstrap(), cluster: Some(cluster) })
            }
            Err(missing) => skip(&missing),
        }
    }

    /// Fills the disk of broker `n`, and tells whether it has one of its own.
    pub fn fill_disk(&self, n: usize) -> bool {
        let node = self.cluster().node(n);
        if node.has_disk {
            let mut file = File::create(node.filler()).expect("a file on the disk of a broker");
            while file.write_all(&[0; 64 * 1024]).is_ok() {}
        }
        node.has_disk
    }

    /// Frees what was filled.
    pub fn free_disk(&self, n: usize) {
        fs::remove_file(self.cluster().node(n).filler()).expect("the file that filled a disk");
    }

    /// Returns the addresses to give to a client.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the number and the address of each broker.
    pub fn addresses(&self) -> Vec<(usize, String)> {
        self.cluster().nodes.iter().map(|node| (node.id, node.address())).collect()
    }

    /// Ends broker `n`, the first being 1, as a power cut would.
    pub fn kill(&self, n: usize) {
        self.cluster().node(n).kill();
    }

    /// Returns a way to broker 1 that can be cut; only clients that begin there are led to stay on it.
    pub fn proxy(&self) -> Proxy {
        let Detour { listens, advertised } = self.cluster().node(1).detour;
        Proxy::start(advertised, listens)
    }

    /// Freezes broker `n`: its connections stay open and say nothing.
    pub fn pause(&self, n: usize) {
        self.cluster().node(n).signal("STOP");
    }

    /// Lets a paused broker go on.
    pub fn resume(&self, n: usize) {
        self.cluster().node(n).signal("CONT");
    }

    /// Starts broker `n` again on its data, after killing it where it still runs, and waits for it.
    pub fn restart(&self, n: usize) {
        let node = self.cluster().node(n);
        node.kill();
        node.launch(&self.cluster().distribution, &[]);
        node.wait_until_it_sees(1);
    }

    fn given() -> Option<Self> {
        let bootstrap = env::var("OVERDUE_TEST_KAFKA").ok().filter(|given| !given.is_empty())?;
        Some(Self { bootstrap, cluster: None })
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("only brokers that the tests started are killed or paused")
    }
}

/// Returns a name that no other test of this or another run uses.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let started = env::var("OVERDUE_TEST_KAFKA").map_or(0, |_| seed());
    format!("{name}-{}-{started:x}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Says past the test harness, which keeps what a passing test prints, why a test did nothing.
fn skip(missing: &str) -> Option<Kafka> {
    let text = format!("SKIPPED: a test needs {missing}, or OVERDUE_TEST_KAFKA=host:port");
    assert!(env::var_os("CI").is_none(), "{text}");
    writeln!(io::stderr(), "\n{text}").expect("standard error");
    None
}

struct Cluster {
    distribution: Distribution,
    nodes: Vec<Node>,
    keeper: Keeper,
}

impl Cluster {
    fn start(distribution: Distribution, brokers: usize, properties: &[(&str, String)]) -> Self {
        Self::start_on(distribution, brokers, properties, None)
    }

    fn start_on(
        distribution: Distribution,
        brokers: usize,
        properties: &[(&str, String)],
        mebibytes: Option<usize>,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("overdue-kafka-").tempdir().expect("a temporary folder");
        let folder = folder.keep();
        let keeper = Keeper::of(&folder);
        let ports = free_ports(4 * brokers);
        let (clients, others) = ports.split_at(brokers);
        let (controllers, detours) = others.split_at(brokers);
        let voters = voters(controllers);
        let detour = |id: usize| Detour { listens: detours[2 * id - 2], advertised: detours[2 * id - 1] };
        let node = |id: usize| Node::new(&folder, id, clients[id - 1], detour(id), brokers);
        let mut nodes: Vec<_> = (1..=brokers).map(node).collect();
        for (node, mebibytes) in nodes.iter_mut().zip(mebibytes.into_iter().cycle()) {
            node.mount(mebibytes);
        }
        let this = Self { distribution, nodes, keeper };
        for (node, &controller) in this.nodes.iter().zip(controllers) {
            node.format(&this.distribution, controller, &voters, properties);
        }
        this.archive_classes_once();
        this.nodes.iter().for_each(|node| node.launch(&this.distribution, &[]));
        this.nodes.iter().for_each(|node| node.wait_until_it_sees(brokers));
        this
    }

    /// Runs the first broker ever once in vain, to keep its loaded classes for all the others.
    fn archive_classes_once(&self) {
        let archive = self.distribution.class_archive();
        if archive.exists() || self.nodes.len() > 1 {
            return;
        }
        let node = &self.nodes[0];
        let partial = archive.with_extension(unique("partial"));
        node.launch(&self.distribution, &[format!("-XX:ArchiveClassesAtExit={}", partial.display())]);
        node.wait_until_it_sees(1);
        node.stop();
        // A JVM that can't archive leaves no file, and brokers start slower.
        if partial.exists() {
            fs::rename(partial, archive).expect("the class archive in the cache folder");
        }
    }

    fn bootstrap(&self) -> String {
        self.nodes.iter().map(Node::address).collect::<Vec<_>>().join(",")
    }

    fn node(&self, n: usize) -> &Node {
        self.nodes.get(n.wrapping_sub(1)).expect("brokers are counted from 1")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter().for_each(Node::kill);
        self.keeper.release();
    }
}

/// A shell that outlives this process by a moment: when its input closes, however that comes about, it
/// kills the brokers that still run and removes their folder.
struct Keeper {
    shell: Child,
}

const KEEPER: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
for pid in "$1"/*/pid; do [ ! -e "$pid" ] || kill -9 "$(cat "$pid")"; done 2>/dev/null
for disk in "$1"/*/data; do umount "$disk"; done 2>/dev/null
for _ in 1 2 3 4 5; do rm -rf "$1" 2>/dev/null && break; sleep 0.2; done
"#;

impl Keeper {
    fn of(folder: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, "keeper"]).arg(folder);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { shell: shell.spawn().expect("a shell") }
    }

    fn release(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A second listener that tells its clients to come back by another port, where a proxy may be.
#[derive(Clone, Copy)]
struct Detour {
    listens: u16,
    advertised: u16,
}

struct Node {
    id: usize,
    folder: PathBuf,
    port: u16,
    detour: Detour,
    replicas: usize,
    /// Whether its data is on a disk of its own.
    has_disk: bool,
    process: Mutex<Option<Child>>,
}

/// Writes its process id before it becomes the broker, so that the keeper knows of it from the start.
const LAUNCH: &str = r#"echo $$ >"$0" && exec "$@""#;

impl Node {
    fn new(folder: &Path, id: usize, port: u16, detour: Detour, brokers: usize) -> Self {
        let folder = folder.join(id.to_string());
        let replicas = brokers.min(3);
        Self { id, folder, port, detour, replicas, has_disk: false, process: Mutex::new(None) }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn filler(&self) -> PathBuf {
        self.data().join("filler")
    }

    /// Gives it a disk of its own, which takes root.
    fn mount(&mut self, mebibytes: usize) {
        fs::create_dir_all(self.data()).expect("the folder of a broker");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(self.data());
        mount.stdout(Stdio::null()).stderr(Stdio::null());
        self.has_disk = mount.status().is_ok_and(|status| status.success());
    }

    fn format(&self, distribution: &Distribution, controller: u16, voters: &str, more: &[(&str, String)]) {
        let data = self.folder.join("data");
        fs::create_dir_all(&data).expect("the folder of a broker");
        let properties = with(self.properties(controller, voters), more);
        fs::write(self.folder.join("server.properties"), properties).expect("the properties of a broker");
        fs::write(data.join("meta.properties"), self.meta_properties()).expect("the identity of a broker");
        fs::copy(distribution.bootstrap_checkpoint(), data.join("bootstrap.checkpoint"))
            .expect("the first records of a cluster");
    }

    /// Returns what the storage tool would write, without the second that its JVM takes.
    fn meta_properties(&self) -> String {
        let id = self.id;
        format!("version=1\ncluster.id=overdue-tests\nnode.id={id}\ndirectory.id=overdue-broker-disk-{id}A\n")
    }

    fn properties(&self, controller: u16, voters: &str) -> String {
        let (id, client, replicas) = (self.id, self.address(), self.replicas);
        let Detour { listens, advertised } = self.detour;
        let data = self.folder.join("data");
        format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             controller.quorum.voters={voters}\n\
             listeners=CLIENT://{client},DETOUR://127.0.0.1:{listens},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=CLIENT://{client},DETOUR://127.0.0.1:{advertised}\n\
             listener.security.protocol.map=CLIENT:PLAINTEXT,DETOUR:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=CLIENT\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={data}\n\
             broker.session.timeout.ms=4000\n\
             broker.heartbeat.interval.ms=500\n\
             replica.socket.timeout.ms=2000\n\
             default.replication.factor={replicas}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={replicas}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={in_sync}\n\
             transaction.state.log.num.partitions=4\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n\
             group.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n\
             num.network.threads=2\n\
             num.io.threads=4\n",
            data = data.display(),
            in_sync = replicas.div_ceil(2),
        )
    }

    fn launch(&self, distribution: &Distribution, flags: &[String]) {
        let mut flags = [flags, &[format!("-Xms{HEAP}"), format!("-Xmx{HEAP}")]].concat();
        if distribution.class_archive().exists() {
            flags.push(format!("-XX:SharedArchiveFile={}", distribution.class_archive().display()));
        }
        let java = distribution.java(&flags, "kafka.Kafka");
        let log = File::options().create(true).append(true).open(self.log()).expect("the log of a broker");
        let mut shell = Command::new("sh");
        shell.args(["-c", LAUNCH]).arg(self.folder.join("pid")).arg(java.get_program()).args(java.get_args());
        shell.arg(self.folder.join("server.properties")).stdin(Stdio::null());
        shell.stdout(log.try_clone().expect("a second handle of the log")).stderr(log);
        *self.process() = Some(shell.spawn().expect("a shell"));
    }

    /// Waits until the broker answers and counts so many brokers, itself among them.
    fn wait_until_it_sees(&self, brokers: usize) {
        let deadline = Instant::now() + START_WITHIN;
        while !(TcpStream::connect(self.address()).is_ok() && self.sees(brokers)) {
            assert!(Instant::now() < deadline, "broker {} did not answer:\n{}", self.id, self.log_tail());
            assert!(self.runs(), "broker {} ended:\n{}", self.id, self.log_tail());
            sleep(Duration::from_millis(20));
        }
    }

    fn sees(&self, brokers: usize) -> bool {
        let mut config = ClientConfig::new();
        let asked = config.set("bootstrap.servers", self.address()).create::<BaseConsumer>();
        let answer = asked.expect("a client").fetch_metadata(None, Duration::from_secs(2));
        answer.is_ok_and(|seen| {
            seen.brokers().len() >= brokers
                && seen.brokers().iter().any(|broker| broker.id() == self.id as i32)
        })
    }

    fn runs(&self) -> bool {
        self.process().as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    fn kill(&self) {
        let ended = self.process().take();
        if let Some(mut process) = ended {
            let _ = fs::remove_file(self.folder.join("pid"));
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn stop(&self) {
        self.signal("TERM");
        if let Some(mut process) = self.process().take() {
            let _ = process.wait();
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process().as_ref().map(Child::id).expect("a broker that runs");
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status();
        assert!(sent.is_ok_and(|status| status.success()), "broker {} took no signal {name}", self.id);
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Adds properties to a file of them.
fn with(file: String, more: &[(&str, String)]) -> String {
    more.iter().fold(file, |file, (name, value)| {
        let line = format!("{name}=");
        match file.lines().find(|found| found.starts_with(&line)) {
            Some(found) => file.replacen(found, &format!("{found},{value}"), 1),
            None => format!("{file}{line}{value}\n"),
        }
    })
}

fn voters(controllers: &[u16]) -> String {
    let voter = |(index, port): (usize, &u16)| format!("{}@127.0.0.1:{port}", index + 1);
    controllers.iter().enumerate().map(voter).collect::<Vec<_>>().join(",")
}

/// Finds ports below those that the system hands out to clients, so that a broker finds its own again.
pub fn free_ports(count: usize) -> Vec<u16> {
    let first = 12_000 + (seed() % 18_000) as u16;
    let held = (first..).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(count);
    let held: Vec<_> = held.collect();
    held.iter().map(|listener| listener.local_addr().expect("a bound port").port()).collect()
}

/// Returns a number that another run or process is unlikely to get.
pub fn seed() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a date after 1970");
    now.subsec_micros() ^ process::id().wrapping_mul(7919)
}
