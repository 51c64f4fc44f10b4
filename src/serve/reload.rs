//! Other policies without a restart: the file is looked at every second, and on SIGHUP. Rule T13.
//!
//! Looked at, not watched: a ConfigMap of Kubernetes is a symbolic link to a folder that is replaced, an editor
//! replaces the file itself, and a network disk tells nobody. Reading a small file once a second finds all of these.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Files, Folder, PolicyFile, Problems, load_policies};
use crate::runtime::shared::Shared;

/// How often the files are looked at. What is half written then is found to differ at the next look.
const LOOK: Duration = Duration::from_secs(1);

/// The policy file and the files it refers to, as they were loaded and as they are.
pub struct Watch {
    shared: Arc<Shared>,
    path: PathBuf,
    /// What was seen at the last look.
    seen: Texts,
    /// What is in force, or what was refused last.
    tried: Texts,
    /// Why the files cannot be used, while they cannot.
    refused: Option<String>,
}

/// What the files hold, or why they cannot be read.
type Texts = Result<(String, BTreeMap<String, String>), String>;

/// Looks at the files until it is dropped.
pub async fn watch(shared: Arc<Shared>, loaded: Arc<PolicyFile>) {
    let mut watch = Watch::new(shared, &loaded);
    let Ok(mut asked) = signal(SignalKind::hangup()) else { return };
    let mut time = tokio::time::interval(LOOK);
    loop {
        let is_asked = tokio::select! {
            asked = asked.recv() => asked.is_some(),
            _ = time.tick() => false,
        };
        // A disk that does not answer holds up nobody but this.
        let looked = tokio::task::spawn_blocking(move || {
            if is_asked {
                watch.reload()
            } else {
                watch.look()
            };
            watch
        });
        match looked.await {
            Ok(back) => watch = back,
            Err(_) => return,
        }
    }
}

/// From now on SIGHUP does not end the process, also where it is not ready to read its policies again.
pub fn heed_hang_up() {
    // Where no handler can be set, the process ends as it would have without one.
    let _ = signal(SignalKind::hangup());
}

impl Watch {
    /// These files are loaded.
    pub fn new(shared: Arc<Shared>, loaded: &PolicyFile) -> Watch {
        let texts = Ok((loaded.text.clone(), loaded.files.clone()));
        Watch { shared, path: loaded.path.clone(), seen: texts.clone(), tried: texts, refused: None }
    }

    /// Loads the files where they are others than before, and no longer being written.
    pub fn look(&mut self) {
        let now = self.read();
        let is_still = now == self.seen;
        self.seen = now;
        // A file that a refused one refers to may have come since, under a name that is not known here.
        if is_still && (self.seen != self.tried || self.refused.is_some()) {
            self.load(false);
        }
    }

    /// Loads the files because somebody asked for it.
    pub fn reload(&mut self) {
        self.seen = self.read();
        self.load(true);
    }

    /// The files by the names that are known.
    fn read(&self) -> Texts {
        let folder = Folder(self.path.parent().map(Path::to_path_buf).unwrap_or_default());
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = folder.read(&name)?;
        let known = self.shared.policies.latest().file;
        let read = |name: &String| Ok((name.clone(), folder.read(name)?));
        Ok((text, known.files.keys().map(read).collect::<Result<_, String>>()?))
    }

    fn load(&mut self, is_asked: bool) {
        self.tried = self.seen.clone();
        match load_policies(self.path.clone()) {
            Ok(file) => self.take(file, is_asked),
            Err(problems) => self.refuse(&problems, is_asked),
        }
    }

    fn take(&mut self, file: PolicyFile, is_asked: bool) {
        self.refused = None;
        let version = file.policies.version.clone();
        self.tried = Ok((file.text.clone(), file.files.clone()));
        self.seen = self.tried.clone();
        if version == self.shared.policies.latest().policies.version {
            if is_asked {
                tracing::info!(version, "the policies are those that were loaded before");
            }
            return self.shared.metrics.reloaded("unchanged");
        }
        tracing::info!(version, revision = file.policies.revision, "other policies were loaded");
        self.shared.metrics.promise(&file.policies);
        self.shared.policies.put(Arc::new(file));
        self.shared.metrics.reloaded("loaded");
    }

    /// Says each problem once, and keeps what is in force.
    fn refuse(&mut self, problems: &Problems, is_asked: bool) {
        let text = problems.to_string();
        if !is_asked && self.refused.as_ref() == Some(&text) {
            return;
        }
        for problem in &problems.0 {
            tracing::error!("{problem}");
        }
        let (path, in_force) = (self.path.display(), self.shared.policies.latest().policies.version.clone());
        tracing::error!(%path, in_force, "the policies cannot be used; those loaded before stay in force");
        self.refused = Some(text);
        self.shared.metrics.reloaded("failed");
    }
}
