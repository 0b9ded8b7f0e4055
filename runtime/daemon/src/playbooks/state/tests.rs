//! Files that move: what was active stays so until what took their place is read.

use effect::{Code, Error, Timestamp};
use journal::{Journal, SystemClock};
use tempfile::TempDir;

use super::*;
use crate::playbooks::keep::Keep;
use crate::playbooks::loader::Text;
use crate::playbooks::{CatchUp, Overlap};

/// What is known, and where it is written down.
struct Stage {
    state: State,
    keep: Keep,
    now: Instant,
    _folder: TempDir,
}

impl Stage {
    /// With one playbook, `p`, which is active.
    async fn with(path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let (keep, _) = Keep::open(journal, "here".into(), "one".into(), 10).await.unwrap();
        let mut stage = Self { state: State::default(), keep, now: Instant::now(), _folder: folder };
        let changed = stage.look(&[path], &[path]).remove(0);
        stage.read(changed, Ok(parts("p")));
        stage.commit().await;
        assert_eq!(stage.file("p"), Some(PathBuf::from(path)));
        stage
    }

    /// Looks, and finds that of all files that are there some have changed.
    fn look(&mut self, present: &[&str], changed: &[&str]) -> Vec<Changed> {
        self.state.look_again_at = None;
        let found = Found {
            present: present.iter().map(PathBuf::from).collect(),
            changed: changed.iter().map(|path| written(path)).collect(),
            ..Found::default()
        };
        self.state.found(found, self.now)
    }

    fn read(&mut self, changed: Changed, result: Result<Parts, Mistake>) {
        assert!(self.state.read(changed, result, false, self.now).is_none());
    }

    async fn commit(&mut self) {
        let next = self.state.next(&self.keep, Timestamp(1));
        self.keep.write(&next.change).await.unwrap();
        self.state.take_over(next);
    }

    /// Where a playbook lies.
    fn file(&self, name: &str) -> Option<PathBuf> {
        self.state.table().playbooks.get(name).map(|playbook| playbook.file.clone())
    }
}

fn written(path: &str) -> Changed {
    let (path, source) = (PathBuf::from(path), Arc::<str>::from("return playbook {}"));
    let main = blake3::hash(source.as_bytes());
    let root = path.parent().unwrap().to_owned();
    let text = Text { root, name: "x.lua".into(), source, modules: BTreeMap::new() };
    let inputs = Inputs { real: path.clone(), main, modules: Vec::new(), tree: None };
    Changed { path, text: Ok(text), inputs, before: None }
}

fn parts(name: &str) -> Parts {
    let definition = Definition {
        name: name.to_owned(),
        description: None,
        allow: None,
        on: Vec::new(),
        params: BTreeMap::new(),
        overlap: Overlap::default(),
        catch_up: CatchUp::default(),
        timeout: None,
    };
    Parts { definition, modules: BTreeMap::new() }
}

fn mistake() -> Mistake {
    Error::new(Code::Syntax, "it does not compile").into()
}

#[tokio::test]
async fn a_playbook_is_there_while_its_file_is_read_in_its_new_place() {
    let mut stage = Stage::with("/f/a.lua").await;
    let moved = stage.look(&["/f/b.lua"], &["/f/b.lua"]).remove(0);
    stage.now += MOVING / 2;
    stage.look(&["/f/b.lua"], &[]);
    stage.commit().await;
    assert_eq!(stage.file("p"), Some("/f/a.lua".into()));
    stage.read(moved, Ok(parts("p")));
    stage.commit().await;
    let table = stage.state.table();
    assert_eq!(stage.file("p"), Some("/f/b.lua".into()));
    assert_eq!((table.playbooks["p"].number, table.broken.len()), (1, 0));
    // Nothing is left of where it was.
    assert!(stage.state.files.keys().eq([&PathBuf::from("/f/b.lua")]));
}

#[tokio::test]
async fn a_playbook_whose_file_is_moved_over_another_takes_its_place() {
    let mut stage = Stage::with("/f/a.lua").await;
    let other = stage.look(&["/f/a.lua", "/f/b.lua"], &["/f/b.lua"]).remove(0);
    stage.read(other, Ok(parts("q")));
    stage.commit().await;
    let mut moved = written("/f/b.lua");
    moved.inputs.main = blake3::hash(b"what was in a.lua");
    moved.before = stage.state.files[&moved.path].inputs.clone();
    let found = Found { present: [moved.path.clone()].into(), changed: vec![moved], ..Found::default() };
    let moved = stage.state.found(found, stage.now).remove(0);
    stage.commit().await;
    assert_eq!((stage.file("p"), stage.file("q")), (Some("/f/a.lua".into()), Some("/f/b.lua".into())));
    stage.read(moved, Ok(parts("p")));
    stage.commit().await;
    assert_eq!((stage.file("p"), stage.file("q")), (Some("/f/b.lua".into()), None));
    assert!(stage.state.table().broken.is_empty());
}

#[tokio::test]
async fn a_file_that_is_gone_while_others_are_read_takes_its_playbook_out_soon() {
    let mut stage = Stage::with("/f/a.lua").await;
    stage.look(&["/f/b.lua"], &["/f/b.lua"]);
    // It is looked when that is over at the latest.
    assert_eq!(stage.state.look_again_at, Some(stage.now + MOVING));
    stage.now += MOVING;
    stage.look(&["/f/b.lua"], &[]);
    stage.commit().await;
    assert_eq!(stage.file("p"), None);
}

#[tokio::test]
async fn a_file_that_is_gone_takes_its_playbook_out_once_the_others_turn_out_to_be_others() {
    for result in [Ok(parts("q")), Err(mistake())] {
        let mut stage = Stage::with("/f/a.lua").await;
        let other = stage.look(&["/f/b.lua"], &["/f/b.lua"]).remove(0);
        stage.read(other, result);
        assert_eq!(stage.state.look_again_at, Some(stage.now));
        stage.look(&["/f/b.lua"], &[]);
        stage.commit().await;
        assert_eq!(stage.file("p"), None);
    }
}

#[tokio::test]
async fn a_file_that_is_there_again_is_what_it_was() {
    let mut stage = Stage::with("/f/a.lua").await;
    let other = stage.look(&["/f/b.lua"], &["/f/b.lua"]).remove(0);
    stage.look(&["/f/a.lua", "/f/b.lua"], &[]);
    stage.read(other, Ok(parts("p")));
    stage.commit().await;
    assert_eq!(stage.file("p"), Some("/f/a.lua".into()));
    assert_eq!(stage.state.table().broken.keys().collect::<Vec<_>>(), [&PathBuf::from("/f/b.lua")]);
}
