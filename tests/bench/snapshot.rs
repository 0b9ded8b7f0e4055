//! A snapshot of a folder and its way back, beside `tar` and `zstd` with the same level and threads. Both sides end with
//! everything on the disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::whole::{command, place, start_with_state, timed};
use crate::{Row, median, millis};

const TIMES: usize = 3;
/// What `files.snapshot` takes unless told otherwise.
const LEVEL: &str = "-3";
/// As many as `files.snapshot` compresses with at most.
const MOST_THREADS: usize = 4;
const SMALL: usize = 2000;
const LARGE: usize = 7;
const LARGE_SIZE: usize = 64 << 20;

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    // Scripts do not lie beside the configuration.
    let (state, place) = (place(), tempfile::tempdir().unwrap());
    let at = |name: &str| place.path().join(name);
    let bytes = fill(&at("data"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let scripts = [
        ("take.lua", "files.snapshot { path = \"data\", to = \"own.tar.zst\", service = \"bench\" }\n"),
        ("back.lua", "files.restore { from = \"own.tar.zst\", path = \"own\", service = \"bench\" }\n"),
    ];
    for (name, text) in scripts {
        fs::write(at(name), text).unwrap();
    }
    let start = start_with_state(program, state.path());
    let own = |script: &str| {
        timed(command(program, state.path(), &[at(script).as_os_str(), "--allow".as_ref(), "*".as_ref()]))
    };
    let shell = |text: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.current_dir(place.path()).args(["-ec", text]);
        timed(shell)
    };
    let pack =
        format!("tar -c -C data . | zstd -q {LEVEL} -T{threads} -o theirs.tar.zst; sync theirs.tar.zst");
    let mut times: [Vec<Duration>; 4] = Default::default();
    // In turns, so that whatever else the disk does meets both alike.
    for _ in 0..TIMES {
        remove(place.path(), &["own.tar.zst", "theirs.tar.zst", "own", "theirs"]);
        times[0].push(own("take.lua"));
        times[1].push(shell(&pack));
        times[2].push(own("back.lua"));
        times[3]
            .push(shell("mkdir theirs; zstd -q -dc theirs.tar.zst | tar -x -p -C theirs; sync -f theirs"));
    }
    let [take, packed, back, unpacked] = times.map(median);
    vec![
        row("snapshot of 2,000 small and 7 large files", take, start, ("tar | zstd", packed), bytes),
        row("restore of that snapshot", back, start, ("zstd | tar", unpacked), bytes),
    ]
}

fn row(
    what: &'static str,
    measured: Duration,
    start: Duration,
    (name, baseline): (&str, Duration),
    bytes: usize,
) -> Row {
    let speed = |time: Duration| format!("{:.0} MB/s", bytes as f64 / 1e6 / time.as_secs_f64());
    let as_fast = |time: Duration| baseline.as_secs_f64() / time.as_secs_f64();
    Row {
        what,
        measured: format!(
            "{}, {} ({} of it its own start)",
            millis(measured),
            speed(measured),
            millis(start)
        ),
        baseline: format!("`{name}` {}, {}", millis(baseline), speed(baseline)),
        ratio: format!(
            "{:.2} × as fast ({:.2} without its start)",
            as_fast(measured),
            as_fast(measured.saturating_sub(start))
        ),
        promise: "≥ 0.8 × as fast",
    }
}

/// A folder like those of services: many small texts, and a few large files of which about a half can be compressed.
/// Tells how much is in it.
fn fill(data: &Path) -> usize {
    let (mut chance, mut bytes) = (0x2545_f491_4f6c_dd1d_u64, 0);
    let mut next = move || {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance
    };
    for number in 0..SMALL {
        let folder = data.join(format!("small/{:02}", number % 40));
        fs::create_dir_all(&folder).unwrap();
        let lines = 10 + next() % 400;
        let text: String =
            (0..lines).map(|line| format!("{number} {line}: the value is {:08x}\n", next() as u32)).collect();
        fs::write(folder.join(number.to_string()), &text).unwrap();
        bytes += text.len();
    }
    let mut piece = vec![0; 64 * 1024];
    for number in 0..LARGE {
        let mut file = File::create(data.join(format!("large-{number}"))).unwrap();
        for _ in 0..LARGE_SIZE / piece.len() {
            let (random, text) = piece.split_at_mut(32 * 1024);
            random.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&next().to_le_bytes()));
            text.chunks_exact_mut(16)
                .for_each(|line| line.copy_from_slice(format!("row {:011}\n", next() % 99_999).as_bytes()));
            file.write_all(&piece).unwrap();
        }
        bytes += LARGE_SIZE;
    }
    // Nobody's measurement shall wait for this.
    let began = Instant::now();
    let mut sync = Command::new("sync");
    sync.arg("-f").arg(data);
    timed(sync);
    eprintln!("the folder of {} MB is on the disk after {}", bytes / 1_000_000, millis(began.elapsed()));
    bytes
}

fn remove(place: &Path, names: &[&str]) {
    for name in names {
        let path = place.join(name);
        // In the first round there is nothing.
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}
