//! Owns what travels on the pipe between host and worker: a frame is its length (u32, little-endian) and a JSON
//! body. Both sides bound every frame; what a frame means is the business of the side that receives it.

use effect::Code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::Limits;

/// No frame is longer than this.
pub(crate) const GREATEST_FRAME: usize = 64 << 20;
/// Bytes of the length before each frame.
pub(crate) const PREFIX: usize = 4;

/// What is done with the effects of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Effects act.
    Run,
    /// Effects are read and compared only; results may hold sealed values.
    Plan,
    /// A playbook's file is only read: it has no effects, and its `run` is not called.
    Read,
}

/// A line of a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The script's or module's name as it was given to the worker; empty when no script frame is on the stack.
    pub file: String,
    /// The line, from 1; 0 when unknown.
    pub line: u32,
}

/// One frame of a Luau stack, innermost first; frames of the runtime itself are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Where the frame stands.
    #[serde(flatten)]
    pub place: Place,
    /// The function's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

/// How an effect ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its result.
    Ok(Box<RawValue>),
    /// An [`effect::Error`].
    Err(Box<RawValue>),
}

impl Outcome {
    /// The outcome of a failed effect.
    #[must_use]
    pub fn error(error: &effect::Error) -> Self {
        Self::Err(serde_json::value::to_raw_value(error).expect("an error is strings and booleans"))
    }
}

/// One completed effect of the recorded history, in the order of completion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryItem {
    /// The scope path; empty at the top.
    pub scope: String,
    /// The position within the scope, from 1.
    pub counter: u64,
    /// The effect's name.
    pub name: String,
    /// [`arguments_hash`] of the recorded arguments.
    pub hash: String,
    /// What it returned.
    pub outcome: Outcome,
}

/// The source of a script or module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The name under which it is shown and by which it is loaded once: `lib/services.luau`, `@std/deploy`.
    pub name: String,
    /// The text.
    pub source: String,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// `log.debug`
    Debug,
    /// `log.info`
    Info,
    /// `print`
    Print,
    /// `log.warn`
    Warn,
    /// `log.error`
    Error,
}

/// One line of a run's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    /// The scope path in which it was written.
    pub scope: String,
    /// Its number within the scope, from 1; the same in every replay.
    pub number: u64,
    /// Its level.
    pub level: Level,
    /// The text.
    pub message: String,
    /// The fields, a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Box<RawValue>>,
    /// Where it was written.
    #[serde(flatten)]
    pub place: Place,
}

/// What a script says about how far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    /// The scope path in which it was said.
    pub scope: String,
    /// What was passed to `progress`.
    pub value: Box<RawValue>,
}

/// What a playbook's file says that it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// The fields of `playbook { … }` without `run`, JSON.
    pub definition: Box<RawValue>,
    /// The line that calls `playbook`.
    pub line: u32,
}

/// A branch touched what nobody can know yet, so its plan ends here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEnd {
    /// The scope path in which the value was touched.
    pub scope: String,
    /// What was touched.
    pub note: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
}

/// One side of a divergence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The scope path.
    pub scope: String,
    /// The position within the scope.
    pub counter: u64,
    /// The effect's name.
    pub name: String,
    /// [`arguments_hash`] of the arguments.
    pub hash: String,
}

/// A script no longer matches its recorded history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// What the history holds next; absent when the script asks for more than was recorded.
    pub recorded: Option<Recorded>,
    /// What the script asked for instead; absent when it ended or waits elsewhere.
    pub requested: Option<Recorded>,
    /// The arguments the script passed, if it asked for the recorded effect with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The error with which the script ended instead of asking for what was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Where the script asked.
    #[serde(flatten)]
    pub place: Place,
}

/// Which limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichLimit {
    /// Bytes of the Lua heap.
    Memory,
    /// Computing time between two effects.
    Execution,
    /// Time from start to end.
    Wall,
    /// Number of effects.
    Effects,
    /// Bytes of output.
    Output,
}

impl WhichLimit {
    /// The code under which passing the limit is reported.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Memory => Code::LimitMemory,
            Self::Execution => Code::LimitExecution,
            Self::Wall => Code::LimitWall,
            Self::Effects => Code::LimitEffects,
            Self::Output => Code::LimitOutput,
        }
    }
}

/// An error as it leaves the script: [`effect::Error`] with any code, because a script may raise its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ScriptError {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) cause: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) effect: Option<String>,
    pub(crate) retryable: bool,
    pub(crate) details: Vec<String>,
    pub(crate) missing: Vec<String>,
}

/// What the worker is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) limits: Limits,
    pub(crate) mode: Mode,
    pub(crate) effects: Vec<String>,
    pub(crate) rewinds: BTreeMap<String, effect::Rewind>,
    pub(crate) args: Vec<String>,
    pub(crate) params: Box<RawValue>,
    pub(crate) seed: u64,
    pub(crate) script: Module,
    pub(crate) event: Option<Box<RawValue>>,
    pub(crate) resumed: bool,
}

/// What the host says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToWorker {
    Start(Box<Start>),
    History(Vec<HistoryItem>),
    HistoryEnd,
    Answer {
        id: u64,
        outcome: Outcome,
    },
    Module {
        outcome: Result<Module, effect::Error>,
    },
    /// Instead of a start: fork a worker for each pipe that arrives from now on.
    Fork,
}

/// What a template answers to [`ToWorker::Fork`].
pub(crate) const FORKS: u8 = b'+';

/// A live effect that the script asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) scope: String,
    pub(crate) counter: u64,
    pub(crate) name: String,
    pub(crate) args: Box<RawValue>,
    pub(crate) place: Place,
}

/// Why the script failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) error: ScriptError,
    pub(crate) place: Place,
    pub(crate) stack: Vec<Frame>,
}

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToHost {
    /// The worker has locked itself in; nothing of the script has been compiled yet.
    Ready {
        landlock: bool,
    },
    Request(Asked),
    /// The outcome of a request is no longer wanted; it is answered all the same.
    Cancel {
        id: u64,
    },
    Require {
        from: String,
        path: String,
    },
    Log(LogLine),
    Progress(Progress),
    /// Every branch waits; `answered` answers have been taken in so far.
    Blocked {
        open: Vec<u64>,
        answered: u64,
    },
    /// So many history items have been taken in so far.
    Replayed {
        count: u64,
    },
    PlanEnded(PlanEnd),
    Described(Description),
    Diverged(Box<Divergence>),
    Limit {
        which: WhichLimit,
        place: Place,
        stack: Vec<Frame>,
    },
    /// The sandbox could not be set up.
    Unconfined {
        reason: String,
    },
    Panicked {
        message: String,
    },
    Done {
        plan_ended: bool,
    },
    Failed(Box<Failed>),
}

/// The identity of a set of arguments: the first 16 bytes of the BLAKE3 hash of their canonical JSON text, in hex.
#[must_use]
pub fn arguments_hash(canonical: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = blake3::hash(canonical.as_bytes());
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    hash.as_bytes()[..16].iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Appends `frame` with its length to `buffer`.
pub(crate) fn append<T: Serialize>(buffer: &mut Vec<u8>, frame: &T) -> Result<(), FrameError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX]);
    serde_json::to_writer(&mut *buffer, frame).expect("frames are strings, numbers and raw JSON");
    let length = buffer.len() - start - PREFIX;
    if length > GREATEST_FRAME {
        buffer.truncate(start);
        return Err(FrameError::TooLong(length));
    }
    let length = u32::try_from(length).expect("the greatest frame is far below 4 GiB");
    buffer[start..start + PREFIX].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The length that a frame's prefix announces.
pub(crate) fn length(prefix: [u8; PREFIX]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > GREATEST_FRAME { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// Reads a frame's body.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// A frame cannot be sent or understood.
#[derive(Debug)]
pub(crate) enum FrameError {
    TooLong(usize),
    Malformed(String),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(length) => write!(formatter, "a frame of {length} bytes"),
            Self::Malformed(reason) => write!(formatter, "a malformed frame: {reason}"),
        }
    }
}
