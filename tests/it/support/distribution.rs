//! Kafka's jars and what speeds its start, fetched and made once in a cache folder outside the checkout.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const POM: &str = include_str!("pom.xml");
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// What a broker is started from.
pub struct Distribution {
    folder: PathBuf,
}

impl Distribution {
    /// Finds the distribution, or fetches it; says what is missing where that is impossible.
    ///
    /// Processes that ask at the same time wait for the first.
    pub fn get() -> Result<Self, String> {
        require("java", "a JDK 17 (Debian: openjdk-17-jdk-headless)")?;
        let this = Self { folder: cache_folder().join("kafka-4.1.1") };
        fs::create_dir_all(&this.folder).map_err(|e| format!("a cache folder: {e}"))?;
        let lock = File::create(this.folder.join("lock")).expect("a lock file");
        lock.lock().expect("the lock of the cache folder");
        this.fetch_jars()?;
        this.make_bootstrap();
        Ok(this)
    }

    /// Returns `java` with the flags of a quick start, the jars and the class.
    pub fn java(&self, flags: &[String], class: &str) -> Command {
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xlog:cds=off"]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        java.args(["-Dorg.slf4j.simpleLogger.showDateTime=true"]);
        java.args(flags).arg("-cp").arg(self.folder.join("jars/*")).arg(class);
        java
    }

    /// Returns the records that a fresh cluster begins with, the same for every node.
    pub fn bootstrap_checkpoint(&self) -> PathBuf {
        self.folder.join("bootstrap.checkpoint")
    }

    /// Returns the archive of loaded classes, which halves a broker's start; there after the first one.
    pub fn class_archive(&self) -> PathBuf {
        self.folder.join("classes.jsa")
    }

    fn fetch_jars(&self) -> Result<(), String> {
        let (jars, done) = (self.folder.join("jars"), self.folder.join("jars.done"));
        if done.exists() {
            return Ok(());
        }
        require("mvn", "Maven, to fetch Kafka (Debian: maven)")?;
        let pom = self.folder.join("pom.xml");
        fs::write(&pom, POM).expect("the pom in the cache folder");
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "-f"]).arg(pom).arg(COPY_JARS);
        run(mvn.arg(format!("-DoutputDirectory={}", jars.display())));
        File::create(done).expect("the mark of fetched jars");
        Ok(())
    }

    fn make_bootstrap(&self) {
        if self.bootstrap_checkpoint().exists() {
            return;
        }
        let node = tempfile::tempdir().expect("a temporary folder");
        let properties = node.path().join("server.properties");
        fs::write(&properties, formatting_properties(node.path())).expect("properties to format with");
        let mut format = self.java(&["-Xmx128m".into()], "kafka.tools.StorageTool");
        run(format.args(["format", "-t", "overdue-tests", "-c"]).arg(properties));
        fs::copy(node.path().join("data/bootstrap.checkpoint"), self.bootstrap_checkpoint())
            .expect("the bootstrap records in the cache folder");
    }
}

fn formatting_properties(folder: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:1\n\
         listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}/data\n",
        folder.display()
    )
}

fn cache_folder() -> PathBuf {
    let folder = |name| env::var_os(name).map(PathBuf::from);
    folder("OVERDUE_TEST_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("overdue-test")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/overdue-test")))
        .unwrap_or_else(|| env::temp_dir().join("overdue-test"))
}

fn require(program: &str, what: &str) -> Result<(), String> {
    let mut asked = Command::new(program);
    asked.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match asked.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(what.into()),
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("a program that was found before");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&text));
}
