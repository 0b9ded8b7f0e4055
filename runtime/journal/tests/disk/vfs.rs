//! Owns a layer between SQLite and its files: everything that would change a file is shown to a watcher first, which may
//! let it pass, cut it short or have it fail. It becomes SQLite's default, so that the code under test opens its database
//! as it always does.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::ffi::{
    SQLITE_IOERR, SQLITE_IOERR_DELETE, SQLITE_OK, sqlite3_file, sqlite3_filename, sqlite3_int64,
    sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find, sqlite3_vfs_register,
};

/// What is about to be done to a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation<'a> {
    Write {
        offset: u64,
        data: &'a [u8],
    },
    Truncate {
        size: u64,
    },
    Sync,
    /// `synced`: the folder is synced as well, so that it cannot come back.
    Delete {
        synced: bool,
    },
}

/// Whether it may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    /// It fails with one of SQLite's codes and does nothing.
    Fail(c_int),
    /// Only the first bytes of a write arrive, then it fails.
    Short(usize, c_int),
}

/// Sees every operation, on the thread that makes it.
pub(crate) trait Watcher: Send + Sync {
    fn before(&self, path: &Path, operation: Operation<'_>) -> Verdict;

    /// It was done, or as much of it as the verdict let through, and SQLite is about to be told.
    fn after(&self, path: &Path, operation: Operation<'_>);
}

static WATCHER: OnceLock<Box<dyn Watcher>> = OnceLock::new();
static REAL: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

/// Has `watcher` see every database that this process opens from now on. The first call counts.
pub(crate) fn watch(watcher: Box<dyn Watcher>) {
    if WATCHER.set(watcher).is_err() {
        return;
    }
    // SAFETY: a null name asks for the default, which SQLite keeps for the life of the process.
    let real = unsafe { sqlite3_vfs_find(ptr::null()) };
    assert!(!real.is_null(), "SQLite has a default for this system");
    REAL.store(real, Ordering::Release);
    // SAFETY: `real` points at a whole `sqlite3_vfs`, which is plain data that nobody changes after registration.
    let mut layer = unsafe { ptr::read(real) };
    let header = c_int::try_from(size_of::<Header>()).expect("a header has a few bytes");
    layer.szOsFile += header;
    layer.zName = c"watched".as_ptr();
    layer.pNext = ptr::null_mut();
    layer.xOpen = Some(open);
    layer.xDelete = Some(delete);
    // SAFETY: the structure is leaked, so it lives as long as SQLite may use it.
    let code = unsafe { sqlite3_vfs_register(Box::into_raw(Box::new(layer)), 1) };
    assert_eq!(code, SQLITE_OK, "the layer is registered");
}

/// A file as SQLite holds it: ours in front, the real one right behind it.
#[repr(C, align(8))]
struct Header {
    base: sqlite3_file,
    /// SQLite's own, valid until the file is closed; null for temporary files.
    name: *const c_char,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // The second version: what the third adds is memory mapping, which would hide reads.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn real_vfs() -> *mut sqlite3_vfs {
    REAL.load(Ordering::Acquire)
}

/// # Safety
/// `file` was opened by [`open`], or is about to be: it points at a header with the real file's bytes behind it.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: by the contract above the allocation goes on behind the header.
    unsafe { file.cast::<Header>().add(1).cast() }
}

/// # Safety
/// `file` was opened by [`open`], successfully.
unsafe fn methods(file: *mut sqlite3_file) -> &'static sqlite3_io_methods {
    // SAFETY: an open file of SQLite's own points at a static table of methods.
    unsafe { &*(*real(file)).pMethods }
}

/// # Safety
/// `name` is null or a string that lives as long as the result is used.
unsafe fn path<'a>(name: *const c_char) -> Option<&'a Path> {
    // SAFETY: by the contract above.
    (!name.is_null()).then(|| Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

/// Shows an operation to the watcher, does it if it may be, and says what came of it.
///
/// # Safety
/// `file` was opened by [`open`], successfully.
unsafe fn watched(
    file: *mut sqlite3_file,
    operation: Operation<'_>,
    act: impl FnOnce(Option<usize>) -> c_int,
) -> c_int {
    // SAFETY: the header is ours and was filled by `open`; SQLite keeps the name until the file is closed.
    let path = unsafe { path((*file.cast::<Header>()).name) };
    match (path, WATCHER.get()) {
        (Some(path), Some(watcher)) => pass(&**watcher, path, operation, act),
        _ => act(None),
    }
}

fn pass(
    watcher: &dyn Watcher,
    path: &Path,
    operation: Operation<'_>,
    act: impl FnOnce(Option<usize>) -> c_int,
) -> c_int {
    match watcher.before(path, operation) {
        Verdict::Go => {}
        Verdict::Fail(code) => return code,
        Verdict::Short(length, code) => {
            act(Some(length));
            if let Operation::Write { offset, data } = operation {
                watcher.after(path, Operation::Write { offset, data: &data[..length.min(data.len())] });
            }
            return code;
        }
    }
    let code = act(None);
    if code == SQLITE_OK {
        watcher.after(path, operation);
    }
    code
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let vfs = real_vfs();
    // SAFETY: SQLite hands over `szOsFile` bytes, which are the header's and the real file's; the real `xOpen` gets
    // what it would have got, but for the place of its file.
    unsafe {
        (*file).pMethods = ptr::null();
        let Some(open) = (*vfs).xOpen else { return SQLITE_IOERR };
        let code = open(vfs, name, real(file), flags, out);
        // SQLite closes a file whose methods are set, a failed one too.
        if !(*real(file)).pMethods.is_null() {
            file.cast::<Header>().write(Header { base: sqlite3_file { pMethods: &raw const METHODS }, name });
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    let vfs = real_vfs();
    // SAFETY: the arguments are passed on as they came.
    let act =
        |_| unsafe { (*vfs).xDelete.map_or(SQLITE_IOERR_DELETE, |delete| delete(vfs, name, sync_folder)) };
    // SAFETY: SQLite's names are strings that live through the call.
    match (unsafe { path(name) }, WATCHER.get()) {
        (Some(path), Some(watcher)) => {
            pass(&**watcher, path, Operation::Delete { synced: sync_folder != 0 }, act)
        }
        _ => act(None),
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let bytes = usize::try_from(length).unwrap_or_default();
    // SAFETY: SQLite hands over `length` readable bytes.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), bytes) };
    let operation = Operation::Write { offset: offset.unsigned_abs(), data: bytes };
    let act = |short: Option<usize>| {
        let length = short.map_or(length, |short| c_int::try_from(short.min(bytes.len())).unwrap_or(0));
        // SAFETY: the real file is open, and `length` is at most what SQLite handed over.
        unsafe { methods(file).xWrite.map_or(SQLITE_IOERR, |write| write(real(file), data, length, offset)) }
    };
    // SAFETY: SQLite calls this for files that `open` opened.
    unsafe { watched(file, operation, act) }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: the real file is open.
    let act =
        |_| unsafe { methods(file).xTruncate.map_or(SQLITE_IOERR, |truncate| truncate(real(file), size)) };
    // SAFETY: SQLite calls this for files that `open` opened.
    unsafe { watched(file, Operation::Truncate { size: size.unsigned_abs() }, act) }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the real file is open.
    let act = |_| unsafe { methods(file).xSync.map_or(SQLITE_IOERR, |sync| sync(real(file), flags)) };
    // SAFETY: SQLite calls this for files that `open` opened.
    unsafe { watched(file, Operation::Sync, act) }
}

/// Methods that go to the real file as they are.
macro_rules! passed_on {
    ($($name:ident, $method:ident, ($($argument:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $kind),*) -> c_int {
            // SAFETY: SQLite calls this for files that `open` opened; the arguments are passed on as they came.
            unsafe { methods(file).$method.map_or(SQLITE_IOERR, |method| method(real(file), $($argument),*)) }
        }
    )*};
}

passed_on! {
    close, xClose, ();
    read, xRead, (data: *mut c_void, length: c_int, offset: sqlite3_int64);
    file_size, xFileSize, (size: *mut sqlite3_int64);
    lock, xLock, (kind: c_int);
    unlock, xUnlock, (kind: c_int);
    check_reserved_lock, xCheckReservedLock, (held: *mut c_int);
    file_control, xFileControl, (what: c_int, argument: *mut c_void);
    sector_size, xSectorSize, ();
    device_characteristics, xDeviceCharacteristics, ();
    shm_map, xShmMap, (page: c_int, size: c_int, extend: c_int, address: *mut *mut c_void);
    shm_lock, xShmLock, (offset: c_int, count: c_int, flags: c_int);
    shm_unmap, xShmUnmap, (delete: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: SQLite calls this for files that `open` opened.
    unsafe {
        if let Some(barrier) = methods(file).xShmBarrier {
            barrier(real(file));
        }
    }
}
