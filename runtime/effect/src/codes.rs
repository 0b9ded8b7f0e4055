//! Owns the list of error codes. A code is one entry: name, title, what it means and what to do; the page under
//! `docs/errors`, `mcrun explain` and the check that no page is missing fall out of it. A code is never reused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($variant:ident $text:literal $title:literal $meaning:literal $remedy:literal;)*) => {
        /// A stable error code. The letter names the room it comes from.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the list.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as it is printed, `MC-C003`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// One line that names the situation.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// What the code means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }

            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$variant => $remedy,)* }
            }

            /// What an error of this code advises when it says nothing itself; nothing where the script speaks for
            /// itself.
            #[must_use]
            pub fn advice(self) -> Option<&'static str> {
                match self {
                    Code::Failed | Code::Uncaught => None,
                    other => Some(other.remedy()),
                }
            }
        }
    };
}

codes! {
    // S: scripts and their worker.
    Syntax "MC-S001" "the script does not compile"
        "The Luau compiler rejected the source before anything ran. Nothing was changed."
        "Correct the line; `mcrun plan FILE` compiles without changing anything.";
    Uncaught "MC-S002" "the script failed with an error that nothing caught"
        "A run-time error (`error(…)`, a nil index, a failed assertion) reached the top of the script. Effects that were done stay done and are recorded."
        "Read the stack: it lists the script's own frames only. Correct the script and run it again; finished `ensure` effects find nothing to do.";
    Failed "MC-S003" "the script ended itself with `fail`"
        "The script called `fail(message)`."
        "The message is the script's own; see the script.";
    EffectPlace "MC-S004" "an effect was called where none can be"
        "Effects suspend the script. That is impossible inside callbacks of `table.sort` and `string.gsub`, inside error handlers of `xpcall` and inside metamethods other than `__call`."
        "Perform the effect before, keep its result in a local, and use that inside the callback.";
    ModuleNotFound "MC-S005" "a required module does not exist"
        "`require` knows `@std/…` and files beneath the script's folder (`.lua`, `.luau`, or a folder with `init.luau`)."
        "Check the path; it is relative to the file that requires it and starts with `./`, or is `@std/NAME`.";
    ModuleRefused "MC-S006" "a required module lies outside the script's folder"
        "`require` never follows `..` out of the script's folder, symbolic links, absolute paths or names with NUL bytes."
        "Move the module beneath the folder of the script that is run.";
    ModuleCycle "MC-S007" "modules require each other in a circle"
        "A module was required while it was still being loaded."
        "Break the circle: move what both need into a third module.";
    Unreadable "MC-S008" "a script or module cannot be read"
        "The file is missing, is not a regular file, is not UTF-8 text, or its permissions refuse reading."
        "Check the path and its permissions.";
    LimitMemory "MC-S010" "the script exceeded its memory limit"
        "The Lua heap grew beyond `--limit memory` (128 MiB unless set). The limit cannot be caught with `pcall`."
        "Process data in pieces, or raise it: `--limit memory=256MiB`. The run can be resumed.";
    LimitExecution "MC-S011" "the script ran too long without an effect"
        "Between two effects a script may compute for `--limit exec` (5 s unless set). The limit cannot be caught with `pcall`."
        "Look at the place the message names; it is usually a loop that never ends. Raise it with `--limit exec=30s` if the work is real.";
    LimitWall "MC-S012" "the run exceeded its wall time"
        "The run took longer than `--limit wall`. Time while the run is paused does not count."
        "Resume it with a higher limit: `mcrun resume RUN --limit wall=1h`.";
    LimitEffects "MC-S013" "the run performed too many effects"
        "The number of effects passed `--limit effects`."
        "Look for a loop that never ends, or raise the limit.";
    LimitOutput "MC-S014" "the script wrote too much output"
        "The bytes of `print` and `log` passed `--limit output`."
        "Log less, or raise the limit: `--limit output=64MiB`.";
    LimitArgument "MC-S015" "an argument is too large"
        "One effect's arguments, encoded, passed `--limit argument`."
        "Pass a path instead of a content, or raise the limit.";
    LimitSource "MC-S016" "a source file is too large"
        "Scripts and modules are capped at `--limit source` (256 KiB unless set), because compiling is not interruptible."
        "Split the file into modules, or keep data in a file that the script reads.";
    LimitDepth "MC-S017" "a value is nested too deeply"
        "Arguments and results may be nested `--limit depth` levels deep (64 unless set); a table that contains itself has no end."
        "Flatten the value, or raise the limit: `--limit depth=100`.";
    WorkerLost "MC-S020" "the worker process died"
        "The child process that held the script ended without saying why (killed, out of memory, a crash of the VM). Nothing the journal recorded is lost."
        "`mcrun resume RUN` continues where it stopped.";
    WorkerProtocol "MC-S021" "the worker said something that makes no sense"
        "The host trusts nothing that comes from the worker; a message that breaks the protocol ends it."
        "Resume the run; if it happens again, please report it together with the script.";
    WorkerSandbox "MC-S022" "the worker cannot be confined on this machine"
        "A part of the sandbox (seccomp, no_new_privs, resource limits) could not be set up, so the script was not started."
        "`mcrun doctor` lists what the kernel lacks.";
    Paused "MC-S031" "the script paused the run"
        "The script called `pause`, or `retry` used up its attempts and was told `on_exhausted = \"pause\"`. The run waits for you instead of failing."
        "Mend the cause, which the message shows, then `mcrun resume RUN`: a retry starts another round of attempts.";
    PlanEnds "MC-S032" "the plan of this branch ends here"
        "The script looked at a value that nobody can know before the run, such as the result of an act. What it would do next depends on it, so the plan of this branch ends."
        "Give the act `assume = { … }` to let the plan go on with a value you expect.";
    BadValue "MC-S030" "a value cannot leave the script"
        "Effects take plain data: nil, booleans, numbers, strings, tables. Functions, threads, NaN, mixed tables and cyclic tables stay inside."
        "Pass plain data: booleans, numbers, strings and tables of them.";
    BranchCancelled "MC-S033" "a branch was cancelled because another one failed"
        "The `parallel` around it was told `on_failure = \"cancel\"`. What the branch only waited for was given up; a change that was under way came to its end first."
        "Mend why the other branch failed, then run the script again or resume the run.";

    // A: arguments.
    Argument "MC-A001" "an argument is wrong"
        "A field has the wrong type, is missing, or has a value outside its range."
        "The message names the field and what it takes; `docs/reference` has every effect with an example.";
    UnknownField "MC-A002" "an argument has a field that the effect does not know"
        "Unknown fields are errors, never dropped: a misspelt field would silently mean something else."
        "See the fields that the effect has in `docs/reference`.";
    UnknownEffect "MC-A003" "no such effect, function or global"
        "The script asked for an effect, a library function or a global that this version of mcrun does not have. A misspelt name would otherwise be nil and fail somewhere else."
        "`docs/reference` lists all effects. A variable is declared with `local`; `rawget(_G, \"name\")` looks for a global without an error.";

    // D: data that scripts read and write.
    Malformed "MC-D001" "a text is malformed"
        "A text that was given to `json`, `toml`, `base64`, `semver` or `regex` is not of that form, or holds what a Lua value cannot keep: a number of 2^53 or more, null in a list, a key that occurs twice."
        "The message names line and column. Correct the text; numbers that large belong into strings.";
    DataTooLarge "MC-D002" "a text is too large for its function"
        "What `json`, `toml`, `base64`, `hash`, `semver` and `regex` take and make has a bound, because they run without being interrupted."
        "The message names the bound. Work on pieces of the text, or simplify the pattern.";

    // P: policy and secrets.
    Denied "MC-P001" "the script has no capability for this effect"
        "Nothing is granted by default. The operator grants with `--allow`, and the policy in `mcrun.toml` is the upper bound."
        "Grant what you trust with `--allow`; `mcrun plan FILE --allow '*'` lists all that a script needs.";
    BadCapability "MC-P002" "a capability is malformed or unknown"
        "Capabilities read `primitive:access:pattern`, access is `read` or `write`, shorter forms widen."
        "See the table of capabilities in `docs/reference/capabilities.md`.";
    SecretUnknown "MC-P010" "no such secret"
        "The secret is not configured under `[secrets]` in `mcrun.toml`, or its source has no value."
        "Add `[secrets.\"NAME\"]` with `file`, `env` or `command`, and `to`.";
    SecretPlace "MC-P011" "a secret may not go there"
        "A secret names in `to` where it may be used; anything else is refused, and only fields of type Secret take one."
        "Add the destination to the secret's `to` list if that is what you want.";
    SecretSource "MC-P012" "a secret's source cannot be read"
        "The file, environment variable or command named in `mcrun.toml` failed."
        "Check the source; the message never shows its content.";
    SecretTwice "MC-P013" "a secret has two sources"
        "The name is configured under `[secrets]` in `mcrun.toml` and is in the sealed store as well. Neither goes before the other, because whoever reads one of them would not know which value counts."
        "Take one away: the table out of `mcrun.toml`, or `mcrun secrets remove NAME`.";
    SecretsSealed "MC-P014" "the sealed store cannot be opened"
        "The key that `[secrets_store]` in `mcrun.toml` names is not there, is readable by others, or is not the one that the store is sealed with. No secret of the store can be used; nothing was changed."
        "Bring the key back, or name it under `[secrets_store]`. Where another key is to be used from now on: `mcrun secrets rewrap` with the old one.";
    SecretBroken "MC-P015" "a sealed secret is damaged"
        "Its row in the database was cut, altered, or put in the place of another: what a row seals is bound to its node, name and version and to where the secret may go."
        "Give it a value again with `mcrun secrets rotate NAME`, or restore the state directory from a backup.";
    SecretsTransfer "MC-P016" "exported secrets cannot be written or read"
        "The file is no export of `mcrun secrets export`, was damaged, is sealed for somebody else, or names secrets that are here already. Nothing was changed."
        "The message says which; `--replace` gives secrets that are here the newest value of the file.";
    AccessDenied "MC-P020" "the access policy does not allow this"
        "Every call has a principal, and nothing is allowed unless a rule under `[access]` says so. The refusal is in the audit."
        "`mcrun can-i ACTION OBJECT --as PRINCIPAL` shows which rule decides and why the others do not.";
    ApprovalUnknown "MC-P030" "nothing is asked under this id"
        "No run has asked for an approval with this id, or the run is gone."
        "`mcrun approvals list --all` lists what was asked.";
    ApprovalOver "MC-P031" "it is decided already, or nobody waits for it any more"
        "A decision counts only while it is open: before the quorum is there, before it is rejected, before its time is over, and while its run waits for it."
        "`mcrun approvals show ID` shows what became of it.";
    ApprovalChanged "MC-P032" "what is asked is not what was shown"
        "A decision names the hash of exactly what was shown. The request, its run or its document has another one now, so the decision was not taken."
        "Look at it again with `mcrun approvals show ID`, then decide with the hash that stands there.";
    ApprovalDenied "MC-P033" "this principal may not decide that"
        "The request names who may decide. Where the policy wants four eyes, whoever started the run may reject but not approve; where a document has to be read before, whoever has not marked it as read may not approve."
        "`mcrun approvals show ID` says who may decide, and what has to be read before.";
    ApprovalRejected "MC-P034" "the approval was rejected"
        "Somebody who may decide has said no, or its time is over and `on_timeout = \"reject\"` says that this means no. Nothing behind the call was done."
        "The message says who, and the comment says why. Mend that and start a new run.";
    DocumentUnknown "MC-P035" "no such document"
        "No document has this slug: nothing was pushed under it, or it was deleted."
        "`mcrun docs list` lists them.";

    // J: journal, runs, state directory.
    Divergence "MC-J001" "the script no longer matches its recorded history"
        "On resume the script asked for another effect than the journal recorded at this place. The run is paused and nothing was done."
        "Compare both sides, which the message shows. The pinned source cannot have changed, so look for a decision that depends on something other than effects.";
    InDoubt "MC-J002" "it is unknown whether an effect took place"
        "mcrun was killed between begin and end of an act, and nothing in the world can be asked whether it happened."
        "Look, then say: `mcrun resume RUN --doubt redo`, `--doubt done` or `--doubt fail`.";
    Locked "MC-J003" "another mcrun holds this run or service"
        "A run and a service have one holder at a time. The lock is freed by the kernel when its holder ends."
        "Wait for the holder that the message names, with `--wait`, or end it with `mcrun cancel RUN`.";
    StateNewer "MC-J004" "the state directory belongs to a newer mcrun"
        "Its database has a schema version that this binary does not know. Nothing was touched."
        "Use the newer mcrun, or another directory with `--state`.";
    StateUnusable "MC-J005" "the state directory cannot be used"
        "It cannot be created, read or written."
        "Check path and permissions; choose another with `--state` or `MCRUN_STATE`.";
    DiskFull "MC-J006" "the disk is full"
        "The journal or a file of the state directory could not be written, so no further effect was started. What was recorded is intact."
        "Free some space and try again; `mcrun resume RUN` goes on with a run that had begun.";
    JournalBroken "MC-J007" "the journal cannot be read"
        "The database reports corruption, or an entry cannot be decoded."
        "Keep the state directory as it is and restore it from a backup if you have one; `mcrun doctor` says more.";
    RunUnknown "MC-J008" "no such run"
        "No run has this id or prefix, or several have."
        "`mcrun runs` lists them.";
    RunState "MC-J009" "the run is not in a state that allows this"
        "A finished run cannot be resumed, a run that nobody executes cannot be stopped."
        "`mcrun show RUN` tells its state.";
    Cancelled "MC-J010" "the run was cancelled"
        "Somebody ran `mcrun cancel`, or an interrupted effect was given up."
        "Start a new run; finished `ensure` effects find nothing to do.";

    PlanStale "MC-J011" "the world is not what the saved plan was made for"
        "`mcrun apply` plans again and compares: an object, an answer, the policy or the node is different from what the plan saw, so that it would do something else. Where that comes out only while the plan is carried out, the run pauses before the effect that differs."
        "The lines say what moved. Make a new plan: `mcrun plan FILE --out PLAN`. A paused run goes on with `mcrun resume RUN` once the world is put back, or without its plan with `--leave-plan`.";
    PlanUnusable "MC-J012" "a saved plan cannot be used"
        "The file is damaged, was changed by hand, was written by another version of mcrun, or belongs to another state directory."
        "Make it again where it is applied: `mcrun plan FILE --out PLAN`.";
    PlanTaken "MC-J013" "a saved plan was applied already"
        "A saved plan is carried out once. The run that took it is named, also when it did not come to its end."
        "Make a new plan for what is left: `mcrun plan FILE --out PLAN`.";
    PlanOpen "MC-J014" "a plan does not go to the end and cannot be saved"
        "What a saved plan does is all known. This one stops where the script looks at what nobody can know before the run."
        "Give the acts that the message names `assume = { … }`, or run the script without saving the plan.";

    Fenced "MC-J015" "the lease of a service has passed to another run"
        "Every time the lease of a service is taken its epoch rises, and every effect shows the epoch that it acts under when it begins. This run still had an older one, so nothing more is done in its name. It takes lock files that were removed by hand, or a state directory on a file system whose locks do not hold."
        "See that the other run has ended (`mcrun runs`), then `mcrun resume RUN`. Keep the state directory on a local file system.";

    ExportUnusable "MC-J016" "an exported run cannot be written or read"
        "The file of `mcrun export` is damaged, was written by another version of mcrun, or cannot be reached. Of a file that does not fit nothing is taken in."
        "Export the run once more and pass the file on as it is; the cause says what is wrong with this one.";
    AuditBroken "MC-J020" "the audit is not as it was written"
        "Each record holds the hash of the one before it. The first record at which that does not hold is named: it was changed, removed, moved, or not written by mcrun, or the end of the chain is missing."
        "Keep the state directory as it is and compare with an export or a backup: what lies before the record that is named is whole. Whoever may write the database may do anything to it, so keep ends of the chain elsewhere: `mcrun audit --verify --head HASH`.";

    // C: containers.
    ImageMissing "MC-C003" "the image is not on this node"
        "The container names an image that the engine does not have."
        "Load or pull it first.";
    EngineUnavailable "MC-C001" "no container engine answers"
        "The driver's socket refuses connections or does not exist."
        "`mcrun doctor` shows which engines were looked for. Without any, `exec = { … }` runs native processes.";
    EngineFailed "MC-C002" "the container engine refused"
        "The engine answered a request with an error."
        "The cause is the engine's own message; `mcrun doctor` shows which engine was asked.";
    ContainerUnknown "MC-C004" "no such container"
        "The driver has no container of this name."
        "`mcrun ps` lists what runs.";
    PortOccupied "MC-C005" "a port is already in use"
        "Another process or container listens on the host port."
        "Stop the holder, which the message names where the system tells, choose another port, or let `ports.allocate` choose.";
    Unsupported "MC-C006" "the driver does not have this feature"
        "The selected driver cannot do what the field asks for; it is refused in the plan already."
        "Remove the field or select another driver in `mcrun.toml`.";
    ExitedEarly "MC-C007" "a container ended right after its start"
        "The process exited instead of staying up."
        "Run the program by hand to see why it ends; its last log lines follow the message.";
    ForeignContainer "MC-C008" "a container of this name belongs to somebody else"
        "It exists but was not made by mcrun."
        "`mcrun adopt NAME` takes it over as it runs, and `adopt = true` replaces it. Else remove it, or choose another name.";
    ProgramMissing "MC-C009" "the program does not exist or is not executable"
        "The first word of the argument vector is not an executable file."
        "Give the full path of the program.";
    Orphaned "MC-C010" "an orphan holds the name or a volume"
        "The engine has lost its database and no longer knows a container whose processes go on, or whose storage is left. A second one beside it would be a second writer on the same volume."
        "`mcrun recover` ends what is left of it and makes every recorded container again; `mcrun recover --plan` shows it before.";
    OrphanLives "MC-C011" "an orphan cannot be taken away"
        "Processes of a container that the engine no longer knows do not end, or what it has mounted and published cannot be taken back."
        "The message names them. Look at them with `ps`; `mcrun recover` goes on once they are gone.";
    NotAdopted "MC-C030" "a container cannot be taken over as it is"
        "It is recorded already, does not run, or has what no definition can say exactly. Nothing was touched."
        "The message names what is in the way. `mcrun ps --all` lists what runs; `adopt = true` in `containers.ensure` replaces a container instead.";
    ImageFloating "MC-C020" "the image has no fixed version"
        "The name has no tag, or the tag `latest`: what it means depends on the moment of the pull, so that nobody could go back to it."
        "Name a version such as `:v1.2.0`, or a digest. `allow_latest = true` asks for it all the same.";
    ImageUnknown "MC-C021" "the registry does not have this image"
        "The registry answered, and it has no such repository, tag or digest; or it does not show it to this user."
        "The tags of it that are on this node follow the message. Correct the name, or push it first.";
    RegistryRefused "MC-C022" "the registry refused the credentials"
        "It wants a user name and password, or does not accept those that were given."
        "Give `auth = { username = \"…\", password = secrets.get(\"…\") }`; the secret's `to` lists `images:HOST:PORT`.";
    RegistryUnavailable "MC-C023" "the registry does not answer"
        "Nothing listens there, the connection broke, its certificate is not trusted, or it answered with an error of its own. Errors that may pass were tried again."
        "The cause tells which. Where a private authority signed its certificate, name it with `ca`. `mcrun images` lists what is on this node.";
    ImageArchive "MC-C024" "an archive of an image cannot be used"
        "It is cut short, damaged, neither an OCI nor a docker archive, or has entries that reach outside of it. Nothing was loaded."
        "Make it again with `podman save` or `docker save`, without compression.";
    BuildFailed "MC-C025" "an image cannot be built"
        "An instruction of the Containerfile failed, or it has a mistake. The name still means what it meant before."
        "The last lines of the build follow the message.";

    // E: certificates.
    CertificateName "MC-E001" "a name cannot stand in a certificate"
        "Certificates are for host names of letters, digits and hyphens (RFC 1123) and for IP addresses. Names in other scripts are brought to their ASCII form first."
        "Correct the name: no dot at the end, no port, no path, `*` only as the whole first label.";
    CertificatePolicy "MC-E002" "policy does not allow this certificate"
        "Which names a certificate may bear is decided by `[certs]` in mcrun.toml, for new certificates and renewals alike: internal domains, public domains, and the names of each service."
        "The hint says which line is missing. `mcrun certs show` tells what stands now.";
    CertificateKey "MC-E003" "a key is broken, weak, or belongs to another certificate"
        "RSA keys below 2048 bits, unknown curves and damaged keys are refused, and a key that does not fit its certificate is never written."
        "Make a new key: `key_type = \"p256\"`.";
    CertificateRequest "MC-E004" "a signing request is refused"
        "The request (CSR) is damaged, its signature is wrong, or it asks for something that requests cannot have here: only its key and its names count."
        "Make a plain request for host names only.";
    AuthorityInvalid "MC-E005" "the authority cannot sign now"
        "The certificate of the authority has expired or is not valid yet, or nobody has made it."
        "`mcrun certs ca show` tells its dates; `mcrun certs ca rotate` makes a new one.";
    AuthoritySealed "MC-E006" "the sealed root cannot be opened"
        "The passphrase is not the one that it was sealed with, or what is sealed was damaged."
        "Give the passphrase of this root: `--passphrase-file FILE`. Without it the root cannot be opened by anybody.";
    ClockBehind "MC-E007" "the clock is behind what was issued before"
        "Something was issued at a later time than this machine's clock shows. A certificate made now would not be valid where clocks are right."
        "Set the clock, `timedatectl set-ntp true`, and try again.";
    CertificateUnknown "MC-E008" "no such certificate"
        "No certificate with this id or serial number is recorded."
        "`mcrun certs list` shows them.";
    AuthorityTransfer "MC-E009" "an authority cannot be taken over or handed on"
        "The file is no export of an authority, is damaged, or there is an authority here already."
        "Export it once more with `mcrun certs ca export`, and import it where there is none.";
    AuthorityRefused "MC-E010" "the authority refused"
        "The other authority answered, and its answer was no: its policy, a limit on requests, or a proof of a name that it could not check."
        "The cause is its own words. Where it names a limit, wait as long as it says.";
    AuthorityUnavailable "MC-E011" "the authority does not answer"
        "Nothing listens at its address, the connection broke, its own certificate is not trusted, or it took too long. What may pass was tried again."
        "Check its address under [drivers] in mcrun.toml; a certificate that still stands goes on standing.";
    CertificateAnswer "MC-E012" "the authority answered with something that was not asked for"
        "What came is no certificate, or one for other names or another key. Nothing of it was kept."
        "Look at the authority's own log; a proxy between may have answered in its place.";
    AcmeKeyUnknown "MC-E020" "no such key of an ACME client"
        "No key for the external account binding of ACME clients (RFC 8555, section 7.3.4) has this id."
        "`mcrun certs acme keys` shows the keys that there are.";
    ProofNotOffered "MC-E013" "the proof of a name cannot be offered"
        "An ACME authority wants each name proven: by a file at port 80, a certificate at port 443, or a record. None of the ways in mcrun.toml fits the name, or the port is held by somebody else. Nothing was ordered that could count against a limit."
        "The cause names who is in the way. Free the port, set `http` or `tls` under [drivers.acme] to where a proxy passes these requests on, or list another way under `challenges`.";
    SshPrincipal "MC-E030" "a principal cannot stand in an SSH certificate"
        "A certificate for a user names one to 64 principals of letters, digits and `. _ @ + = : -`; without any it would be good for every account. Principals of a host are host names, by the same rules as those of other certificates."
        "Name each account or role on its own: `principals = { \"deploy\" }`. Patterns, commas and spaces are not names.";
    SshOrder "MC-E031" "an SSH certificate cannot be signed as asked for"
        "Its lifetime is nothing or too long, an option does not fit its kind, or a value cannot stand in a certificate."
        "The message names the field and what it takes; `[certs.ssh]` in mcrun.toml sets how long certificates may live.";
    SshRevoked "MC-E032" "this SSH key or key id is revoked"
        "What is revoked stays so: a certificate for it would be refused by every server that reads the list."
        "Make a new key with `ssh-keygen -t ed25519`, or ask under another key id, and have that signed.";

    // H: health, http.
    Unhealthy "MC-H001" "a health check did not pass in time"
        "The probe failed until its time was over."
        "See the last answer and the service's last log lines; `mcrun logs SERVICE` has all of them. Raise `within` if it only needs longer.";
    HttpRefused "MC-H002" "an address is refused"
        "Link-local and metadata addresses are never contacted, neither directly nor after a redirect."
        "Use the service's own address.";
    HttpFailed "MC-H003" "an HTTP request failed"
        "The connection, TLS handshake or response broke."
        "See that the service listens there, and `retry` what may pass by itself.";
    TooLarge "MC-H004" "an answer or file is larger than its limit"
        "Everything that comes from outside has a bound."
        "Raise the limit of the call if the size is expected.";
    Flapping "MC-H005" "a container does not stay up"
        "It answered, and ended again: it was restarted by its policy instead of staying up, so that its health check may have passed at a lucky moment."
        "See its last lines: they say why it ends. `mcrun logs SERVICE` has all of them; raise `within` if it waits for another service by ending.";

    // F: files, X: exec.
    FileRefused "MC-F001" "a path is refused"
        "The path leaves its root through `..` or a symbolic link, is not absolute, or is not a regular file."
        "Use the resolved path, and grant that.";
    FileFailed "MC-F002" "a file operation failed"
        "The system refused to read or write the file."
        "Check the path, its owner and its permissions; the cause is the system's own message.";
    TemplateFailed "MC-F003" "a template cannot be rendered"
        "The template has a syntax error or uses a value that was not given."
        "Correct the line that the cause names; every value that a template uses stands in `values`.";
    ArchiveRefused "MC-F004" "an archive is refused"
        "It holds what no archive may: a path that leaves the folder, a link, a device, a setuid file, one file twice. Nothing was extracted."
        "The message names the entry. Look where the archive comes from, or leave the entry out with `exclude` where it is harmless.";
    ArchiveBroken "MC-F005" "an archive cannot be read"
        "It is damaged, ends too early, or is neither `tar`, `tar.gz` nor `tar.zst`."
        "The cause is the decoder's own message. Make or fetch the archive anew.";
    ExecFailed "MC-X001" "a program cannot be started"
        "The program does not exist, is not executable, or the directory is missing."
        "Check the full paths of the program and of `cwd`; the cause is the system's own message.";
    TimedOut "MC-X002" "an operation took longer than its time-out"
        "The program, probe or request was stopped when its time was over."
        "Raise `timeout` if the work is real.";
    ExitStatus "MC-X003" "a program ended with a failure"
        "The exit code is not one of those expected."
        "Its last output lines follow the message; `check = false` hands the exit code to the script instead.";
    Confinement "MC-X004" "the program cannot be confined on this machine"
        "`exec.query` runs without write access and sockets, enforced by Landlock and seccomp; this kernel lacks one of them."
        "Use `exec.run`, or a newer kernel; `mcrun doctor` says what is missing.";
    NoPort "MC-N001" "no free port is left"
        "Every port of the range is recorded or in use."
        "`mcrun status` lists the services; `mcrun undeploy SERVICE` frees the ports of those that are gone.";
    NodeUnknown "MC-N002" "the node is not this one"
        "`node` names another machine. Effects act on the local node."
        "Leave `node` out, or run the script on that machine.";

    // R: registry, deploys.
    ServiceUnknown "MC-R001" "no such service"
        "The registry has no service of this name on this node."
        "`mcrun status` lists the services.";

    RolledBack "MC-R002" "a deploy failed and the previous release is back"
        "The new release did not become healthy, or an effect failed. The previous release was restored and verified. The exit code is 7."
        "Correct what the cause names and deploy again.";
    RestoreFailed "MC-R003" "a deploy failed and the previous release could not be restored"
        "Restoring the previous release failed as well, so the service is not in order."
        "Look at `mcrun status SERVICE` and `mcrun logs SERVICE`; deploy a version that works.";
    ReleaseUnknown "MC-R004" "no such release"
        "The registry retains no release of this number, or none before the current one."
        "`mcrun releases SERVICE` lists what is retained.";
    BootStopped "MC-R005" "a boot stopped at a stage"
        "A service of the stage did not start or did not become healthy, or what makes the stage ready did not come about in its time. Stages that need it were not begun; what runs was left alone."
        "See the cause; `mcrun boot --stage STAGE` goes on with that stage once it is mended.";

    RecoveryIncomplete "MC-R006" "a recovery could not bring everything back"
        "Some services are not as they are recorded; the lines beneath the message say which, and why. The others are. No data was deleted."
        "Mend the cause, then `mcrun recover` again: what is back already is left alone.";
    DefinitionForeign "MC-R007" "a definition is another service's"
        "The file that the registry names for a service, or that was given, describes another one now, or leads to a file elsewhere."
        "See who changed it; name the right file with `--definition`, or `mcrun sync` its folder so that the registry knows better.";

    // B: bringing back.
    NotUndoable "MC-B001" "an effect cannot be undone"
        "What was there before it is not known, or bringing that back is not in anybody's power, as with a request that was sent."
        "`mcrun undo` leaves it alone and says so. Take it back by hand.";
    BuiltOnTop "MC-B002" "a later run has changed the object too"
        "Bringing back what was there before the older run would take away what the later run made."
        "Undo the later run first, or say `--force`.";
    NoWayBack "MC-B003" "an effect in a transaction has no way back"
        "A transaction promises that all of it happens or nothing. This effect can neither be restored nor repeated."
        "Give the call an `undo = function(result) … end`, or move it out of the transaction.";
    HalfBack "MC-B004" "a transaction failed and could not be taken back whole"
        "Something that the body changed could not be brought back; what could be was."
        "The message lists what is left. `mcrun undo RUN` tries again once the cause is mended.";

    // K: checks of scripts.
    CheckerMissing "MC-K001" "the type checker is not installed"
        "`mcrun check` leaves the analysis to the program `mcrun-check`, which was found neither beside `mcrun` nor in the path."
        "`make install` installs both. MCRUN_CHECKER names the program where it lies elsewhere.";
    CheckerFailed "MC-K002" "the type checker failed"
        "The program `mcrun-check` ended without an answer, or with one that cannot be read."
        "The cause is what it said. Use the one that belongs to this version of mcrun.";
    TypeErrors "MC-K003" "a playbook does not pass the type check"
        "What is loaded is checked like by `mcrun check` before, so that a misspelt field is found now and not when the playbook runs."
        "Correct what the message and the lines beneath it name; `mcrun check FILE` shows the same.";

    // L: playbooks ("ledger of what is loaded").
    NotPlaybook "MC-L001" "the file is a script, not a playbook"
        "A playbook's file ends with `return playbook { … }`; this one returns something else, or nothing."
        "End it with `return playbook { name = \"…\", run = function(event) … end }`, or run it as a script with `mcrun FILE`.";
    PlaybookField "MC-L002" "a field of a playbook is wrong"
        "What `playbook { … }` is given has a field that is missing, unknown, of another type, or whose value cannot be."
        "Correct the field that the message names; `mcrun types` has what each of them takes.";
    PlaybookEffect "MC-L003" "a playbook has effects while it is only read"
        "A playbook's file is evaluated to learn what it is, whenever it changes. That must not touch the world, wait, or depend on time or chance."
        "Move the call into the function `run`.";
    PlaybookSize "MC-L004" "reading a playbook takes too much"
        "A playbook's file is read with little memory, in little time, and what it says of itself is short."
        "Build tables and compute in the function `run`; leave constants at the top.";
    Parameters "MC-L005" "the parameters of a playbook are wrong"
        "A parameter is missing, unknown, or has a value that it does not take. Nothing was started."
        "`mcrun start NAME --help` shows the parameters, their types and what they are unless given.";

    // Q: questions, and the records that answer them.
    DnsName "MC-Q001" "a name cannot stand in DNS"
        "A label is empty or longer than 63 characters, the name longer than 253, or it breaks the rules of internationalised names."
        "Correct the name; `\\.` is a dot within a label, `@` the zone itself.";
    DnsValue "MC-Q002" "a value is not one of its type"
        "The value of a record does not read as its type says, or the type cannot be set."
        "Write it as in a zone file: `10 mail.example.` for MX; any type as `\\# LENGTH HEX` (RFC 3597).";
    DnsExclusive "MC-Q003" "records would stand beside each other that cannot"
        "A CNAME is alone at its name, nothing lies beneath a DNAME, and what a script describes has one time to live for all values of a type (RFC 1034, section 3.6.2; RFC 6672)."
        "Remove the other records in the same change, or choose another name.";
    DnsZone "MC-Q004" "the zone is not served here, or the name lies outside of it"
        "Records belong to a zone that the driver has; a name that ends in a dot is absolute."
        "`mcrun zones list` shows the zones; `dns.zones.ensure` makes one.";
    DnsZoneFile "MC-Q005" "a zone file cannot be read"
        "The line that the message names does not follow RFC 1035, section 5, or what it says cannot stand in this zone."
        "Correct the line; nothing of the file was taken over.";
    DnsRefused "MC-Q010" "the name server refused"
        "The server has the zone and does not let this key or address change or read it, or a precondition did not hold."
        "Check the key and its rights at the server.";
    DnsUnavailable "MC-Q011" "no name server answers"
        "None of the servers that were asked gave an answer in time."
        "Check the addresses under [dns] and [drivers.rfc2136] or [drivers.rest] in mcrun.toml, and the way there; `mcrun dns trace NAME` shows who was asked.";
    DnsAnswer "MC-Q012" "a name server answered with something that was not asked for"
        "The answer does not belong to the question, is not signed as it should be, or cannot be read."
        "Compare the clock and the key of both sides: a signature holds for five minutes (RFC 8945).";
    DnsNotYet "MC-Q013" "the servers do not answer so yet"
        "`dns.wait_for` waited for servers to answer as described, and the time was over."
        "The details name what each server said last; secondaries take what NOTIFY or their refresh brings.";
    DnsListen "MC-Q020" "the name server cannot listen"
        "An address of `dns.listen` is held by another program, or is none of this machine's."
        "Where the system's resolver holds port 53 on 127.0.0.53, name the addresses that others ask: `listen = [\"192.168.88.181\"]`.";

    // T: tests of scripts.
    Expectation "MC-T001" "an expectation of a test does not hold"
        "A test of `mcrun test` expected something else than what it found."
        "The message and the lines beneath it show both sides.";
    Unanswered "MC-T002" "nothing in the test answers this call"
        "In a test nothing leaves the machine: programs and web addresses answer only what the test has said they answer."
        "Say it before the call: `test.answer { effect = \"http.get\", subject = \"http://…\", result = { status = 200 } }`.";
    TestFile "MC-T003" "a test file cannot be used"
        "It has no tests, two tests of the same name, or a test whose name is not the same in every run."
        "Names are plain texts, each of its own, and do not depend on anything that changes.";

    // G: routes ("gateway").
    RouteName "MC-G001" "a host name or path of a route is none"
        "A route has a host name (`mcq.example.net`), a wildcard one level deep (`*.example.net`) or `*`, and a path that begins with `/`."
        "Correct the field that the message names.";
    RouteTerms "MC-G002" "what a route says does not go together"
        "A field has a value that it cannot have, or one that another field rules out, such as a certificate with `mode = \"l4\"`."
        "Correct the field that the message names; `docs/reference` has what belongs to which mode.";
    RouteClaimed "MC-G003" "another service has the host name"
        "At one port, a host name belongs to one service with all its paths: two that both claim it would take requests from each other."
        "`mcrun routes list` shows whose it is. Remove that route, or choose another host name or port.";
    RoutePort "MC-G004" "the port of a route cannot be listened at"
        "Another program listens there, this user may not, or `ports` under [routes] leaves it out. Nothing was changed."
        "Stop the program that the message names, choose another port, or allow it in mcrun.toml.";
    RouteUnknown "MC-G005" "there is no such route"
        "No route has this port, host name and path."
        "`mcrun routes list` shows those that there are.";
    ProxyRefused "MC-G010" "the proxy refuses"
        "The proxy answered, and does not take the change. Requests go as before."
        "The cause is in the proxy's own words.";
    ProxyUnavailable "MC-G011" "the proxy does not answer"
        "The edge, Caddy or the other mcrun cannot be reached, or took too long. What was begun is asked about when it is tried again."
        "`mcrun serve` starts the edge; `mcrun doctor` shows how the chosen proxy is reached.";
    ProxyAnswer "MC-G012" "the proxy answered something else"
        "What came back is not what its interface promises, or its configuration was changed behind our back in a way that cannot be followed."
        "Check that the address is the proxy's, and its version.";
    BackendUnreachable "MC-G020" "no back end of a route answers"
        "Before requests are sent to back ends, one of them has to take a connection (and answer the probe, where the route has one). Requests go as before."
        "See that the service runs and listens at the address; `probe = false` takes the route as it is.";

    // V010 to V019: the daemon executes runs, and commands hand theirs over.
    DaemonGone "MC-V010" "the daemon ended while a run was followed"
        "The run had been handed over to the daemon of this state directory, which has ended or does not answer any more. What the run did is recorded; it goes on when the daemon is back."
        "Start the daemon again: it goes on with the run by itself. `mcrun show RUN` tells where it stands; without a daemon `mcrun resume RUN` goes on with it.";
    DaemonSilent "MC-V011" "the daemon does not answer"
        "A daemon holds this state directory, and commands hand their runs over to it. Its socket is not there or nobody answers on it. Nothing was executed: two that execute runs side by side would get in each other's way."
        "See what the process that the message names does, and end or restart it.";
    DaemonStops "MC-V012" "the daemon is stopping"
        "It takes no further runs. What is recorded is executed after its next start."
        "Try again when it is back.";
    NotExecuted "MC-V013" "the run is not executed by this daemon"
        "Only a run that is under way or queued here can be stopped here: this one is over, paused, or executed by another process."
        "`mcrun show RUN` tells where it stands; `mcrun cancel RUN` gives it up wherever it is.";
    QuestionGone "MC-V014" "nobody waits for this answer"
        "The question was answered before, its run has gone on, or it was never asked."
        "`mcrun show RUN` tells where the run stands.";
    DaemonBusy "MC-V015" "the daemon has too much to do"
        "More runs wait to be executed, or more callers follow runs, than it takes. Nothing was recorded."
        "Try again later. `mcrun runs --only pending` lists what waits; `[daemon] queue` in mcrun.toml bounds it.";
    // V: the daemon's API ("voice").
    ApiUnavailable "MC-V001" "no daemon answers"
        "Nobody listens at the daemon's socket or address, the connection broke, or it took too long. What was asked for may have been done."
        "`mcrun serve` starts the daemon, `mcrun doctor` shows whether one owns the state directory; ask again, with the same `key` where a call takes one.";
    ApiStranger "MC-V002" "what answers is no daemon of mcrun"
        "Something listens at the socket or address and does not speak as mcrun does."
        "Compare the path or the port with `[daemon.api]` in the mcrun.toml of the daemon.";
    ApiUser "MC-V003" "the daemon does not know the caller"
        "The socket is for root, for the user that the daemon runs as, and for the group that mcrun.toml names; by TLS, for certificates whose names it lists."
        "Name a group that the user is in with `group` under [daemon.api], or the certificate's name under `operators` or `readers`.";
    ApiRole "MC-V004" "the caller may read only"
        "Names under `readers` may list, get and watch. Nothing was changed."
        "Ask somebody who may, or move the name to `operators` under [daemon.api].";
    ApiRequest "MC-V005" "a call is malformed"
        "A field of the call is missing, too long, of another form than it has, or does not go with another one. Nothing was done."
        "Correct the field that the message names; `proto/mcrun/v1` says what each of them takes.";
    ApiVersion "MC-V006" "the two sides are of versions that do not understand one another"
        "The command line and the daemon, or two daemons, count the changes of the API differently, or one of them says what the other does not know."
        "Bring the older side that the message names up to date; a daemon is of the new version once it is started again.";
    ApiBusy "MC-V007" "the daemon does not take more of this"
        "A call is larger or slower than the daemon's bounds allow, or so many are under way that no further one is taken. Nothing was done."
        "Send less at once, or try again later.";
    ApiKeyTaken "MC-V009" "the key belongs to another call"
        "A key makes a call safe to repeat: the same call under the same key gives the run that it gave before. This call says something else than the one before it."
        "Take a new key for each new call.";
    // L: playbooks in folders.
    PlaybookFolder "MC-L006" "a folder of playbooks cannot be read"
        "A folder of `[playbooks] folders` is not there, is no folder, or may not be read. What was loaded from it stays active."
        "Bring the folder back, or take it out of `folders`; it is watched, and its playbooks come back by themselves.";
    PlaybookTwice "MC-L007" "two files hold playbooks of one name"
        "A playbook is known by its name alone. The one that was loaded first stays; the other is left out."
        "Rename one of the two that the message names, or remove its file.";
    PlaybookUnknown "MC-L008" "there is no such playbook"
        "No playbook of this name is loaded, and none was."
        "`mcrun playbooks` lists them, with the files that cannot be loaded.";
    PlaybookVersion "MC-L009" "the playbook has no such version"
        "Versions are counted from 1, and the newest of each playbook are kept (`versions` under [playbooks])."
        "`mcrun playbooks history NAME` lists those that there are.";
    PlaybookNotKept "MC-L020" "a playbook cannot be kept"
        "A new version becomes active once it is written down, so that a restart finds it. That failed; the version before stays active, and it is tried again."
        "The cause says why: mostly a disk that is full.";
    PlaybookMany "MC-L021" "there are more playbooks than are loaded"
        "A folder holds more files of playbooks than mcrun looks after. None beyond those is loaded."
        "Spread them over several machines, or move what is no playbook into a subfolder.";
    // L010–L019: triggers.
    TriggerTime "MC-L010" "a time of a trigger is not understood"
        "A cron expression has five or six fields or is one of `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`; `every` is a second or more; a jitter is no longer than a day."
        "Correct the trigger; `mcrun schedule` shows when it goes off next.";
    CronNever "MC-L011" "a cron expression never comes true"
        "No day has this date: the playbook would never start."
        "Correct the day or the month; the last day of every month is `L`.";
    ZoneUnknown "MC-L012" "a time zone is not known"
        "The name is not in the time zone database."
        "Names read `Europe/Berlin` or `UTC`; leave it out for the machine's own.";
    WebhookSecret "MC-L013" "a webhook has no secret to check callers with"
        "The secret that the trigger names is not configured, cannot be read, or may not go there: nobody can call it."
        "Configure it in mcrun.toml with `to = [\"webhooks:PATH\"]`.";
    WebhookTwice "MC-L014" "two triggers answer the same webhook"
        "Each address belongs to one playbook, the first by name. The other is not started by calls."
        "Give one of them another `path`.";
    FileWatch "MC-L015" "files of a trigger cannot be watched"
        "The folder is not there, is too large, or the kernel gives no more watches. It is looked at again now and then; what changes until then is seen late."
        "The cause says which; watches are raised by `sysctl fs.inotify.max_user_watches`.";
    WebhookRefused "MC-L016" "a call of a webhook is refused"
        "Nobody answers at this address, or the call is not signed as its trigger wants, is too old, was made before, is too large, or comes too often. Nothing was started."
        "The answer says which; compare path, secret, format and clock of both sides.";
    OccurrenceTaken "MC-L017" "an occurrence has been dealt with already"
        "Somebody else has recorded what became of it: it does not start twice."
        "Nothing is to be done; `mcrun schedule` shows what became of it.";
    // I: the life of the daemon, and what it tells of itself.
    HandedSocket "MC-I001" "a socket that was handed over cannot be used"
        "systemd, or whoever started the daemon, handed it a listening socket (`LISTEN_FDS`). Its name is not one that mcrun knows, two have the same name, it is of another kind than what answers there, or nothing is configured to answer there."
        "Correct `FileDescriptorName=` in the socket unit: `systemctl cat mcrun.socket` shows it.";
    LogTarget "MC-I002" "the log cannot be written there"
        "The log is to go to the system's journal, and the journal does not take it."
        "Say `log = \"text\"` under [daemon] in mcrun.toml, or `--log text`, where there is no systemd-journald.";
    CollectorRefused "MC-I003" "telemetry is not taken"
        "The collector that `[telemetry]` names does not answer, refuses what it is sent, or answers with something else. Runs go on; what does not fit into the queue meanwhile is dropped and counted."
        "Check `endpoint` and `headers` under [telemetry] in mcrun.toml, and the collector's own log.";
    // M: machines that mcrun is set up on.
    SetupRoot "MC-M001" "setting mcrun up takes root"
        "`mcrun setup` writes units, a user and a state directory that belong to the whole machine. Nothing was changed."
        "Run it as root: `sudo mcrun setup --plan` first. Without root, `mcrun serve` runs as it is, with the state directory of your own.";
    SetupSystemd "MC-M002" "there is no systemd here that runs services"
        "The units that `mcrun setup` writes are for systemd, and this machine was not started by it (`/run/systemd/system` is not there), or one of its programs is missing."
        "Start `mcrun serve` from whatever starts services here; `deploy/container` and `deploy/quadlet` are for containers. With `--no-start` the files are written all the same, for an image that boots later.";
    SetupProgram "MC-M003" "the program lies where services must not be started from"
        "Units would start this file as root at every boot, and somebody other than root can change it or a folder above it, or it is not there."
        "Install it first: `install -m 0755 mcrun /usr/local/bin/mcrun`, then `/usr/local/bin/mcrun setup`.";
    SetupTaken "MC-M004" "something else lies where setup writes"
        "A unit of that name that mcrun did not write is there, or a path that has to be a folder is a file or a link. Nothing was changed."
        "Move it out of the way, or name another place with `--state` or `--config`; own settings of a unit belong into a drop-in: `systemctl edit mcrun.service`.";
    SetupPackage "MC-M005" "mcrun is here by a package"
        "The package has brought the units, the group and the configuration, and looks after them."
        "`systemctl enable --now mcrun.service` starts it. To set it up by hand, remove the package first: `apt remove mcrun` keeps the state.";
    SetupPath "MC-M006" "a path or a name cannot stand in a unit"
        "Units take absolute paths without `..`, white space, quotes, `%`, `$` and control characters, and names of users as `useradd` takes them."
        "Choose a plainer path or name.";
    InitChild "MC-M007" "as the first process, mcrun cannot start its own self"
        "As process 1 of a container mcrun looks after its child: reaps what is left behind and hands signals on. That child could not be started or waited for."
        "The cause is the kernel's; the container's limits on processes and memory are the first place to look.";

    BackupUnusable "MC-M020" "a backup cannot be used"
        "The file is no backup that `mcrun backup` or `registry.backup` has made, it is cut off or changed, or its passphrase is another one. Every file of a backup is checked against its sum before anything is put in place; nothing was changed."
        "Take the file as it was written, or an older one; `mcrun restore FILE --check` tries one without putting anything in place.";

    // W: who somebody is.
    IdentityName "MC-W001" "a name of identity is refused"
        "Accounts, groups, tags and services have names of 1 to 64 of the letters a to z, digits, `-`, `_` and `.`: no two of them look alike, and none can be taken for something else."
        "Choose a name of these letters; capital letters are taken as small ones.";
    AccountUnknown "MC-W002" "there is no such account"
        "No account has this name on this node."
        "`mcrun mcias accounts` lists those that there are; `mcias.accounts.ensure` makes one.";
    AccountKind "MC-W003" "an account is of the other type"
        "People have passwords and roles, system accounts have tokens that last and neither of those. An account keeps its type."
        "Use an account of the type that it takes, or make another one under another name.";
    AccountChanged "MC-W004" "it was changed by somebody else meanwhile"
        "Somebody else changed the account or the rules after they were read. Nothing was overwritten."
        "Try again: what the other one did is seen then.";
    LastAdmin "MC-W005" "the last active admin must stay"
        "Without an active admin nobody could change accounts and policy any more, so the last one can be neither disabled nor taken away, and keeps the role."
        "Make somebody else an admin first.";
    PasswordRefused "MC-W006" "the password is refused"
        "It is too short, too long, or nothing that anybody could type. The least length is `password_length` of [mcias]."
        "Choose a longer one: several words are easier to keep in mind than signs.";
    IdentityBusy "MC-W007" "identity has too much to do"
        "Passwords are hashed one at a time on each core, and a bounded number of them wait. An account has a bounded number of tokens, too."
        "Try again a little later.";
    TokenRefused "MC-W008" "a token is refused"
        "The token is not one of this issuer for this service, its time is over, it was revoked, or its account cannot be used."
        "The message says which of these it is. Sign in again, or have another token made.";
    LoginRefused "MC-W009" "the account is not let in"
        "The account is disabled, or no rule of the login policy lets it in to this service. Without a rule nobody is."
        "`mcrun mcias explain NAME --service SERVICE` says which rule decides, and why the others do not.";
    LoginPolicy "MC-W010" "a rule of the login policy makes no sense"
        "A pattern, a network, a window of time or a number of rules is none that there can be. Nothing was changed."
        "The message names the rule and what is wrong about it.";
    FirstAdmin "MC-W011" "there is an admin already"
        "`mcrun mcias init` makes the first admin of a state directory, once."
        "Sign in as that admin; whoever lost the password runs `mcrun mcias recover-admin NAME` on the machine.";
    SecondFactor "MC-W012" "a second factor is not taken"
        "The one-time code or the passkey is wrong, no enrolment is under way, or the account has it already."
        "Check the clock of the device that shows the codes, or begin the enrolment anew; `mcrun mcias passkeys NAME` lists passkeys.";
    IssuerUnavailable "MC-W013" "the issuer of tokens does not answer"
        "The mcias or the provider of OpenID that mcrun.toml names could not be reached, or broke off. Nothing is known of the token or the account; where TLS failed, the cause says how."
        "Check the address under [drivers.issuer] or [drivers.openid], the name that its certificate bears and `ca`.";
    IssuerRefused "MC-W014" "the issuer of tokens refused"
        "It answered, and the answer was no: mcrun's own token there is not valid any more, or its account may not do that."
        "Have another token made for mcrun's account there; it has to be among `managers` of [mcias] to change accounts.";
    IssuerAnswer "MC-W015" "the issuer of tokens answered with something that makes no sense"
        "What came is no answer to what was asked, or a provider's discovery names another issuer."
        "Check that the address leads to mcias, or is written exactly as the provider writes its issuer.";
    SsoClient "MC-W020" "a client of single sign-on makes no sense"
        "An address that browsers would be sent back to is none, or could be spelled in more than one way; or the client is not there, or has no secret. Nothing was changed."
        "Addresses are https, or http to 127.0.0.1, [::1] or localhost, without a fragment and without patterns: each is compared letter by letter.";
    ExternalProvider "MC-W021" "a provider of external sign-in does not answer as it should"
        "The issuer that vouches for people does not answer, says no, or says something that is not believed. Nobody was signed in by it."
        "The cause is what it said. `[mcias.external.NAME]` of mcrun.toml names its addresses, its client and the secret, whose `to` lists `mcias:external`.";

    // U: usage and configuration.
    Usage "MC-U001" "the command line is wrong"
        "An option or its value is not understood."
        "`mcrun help COMMAND` shows what it takes.";
    Config "MC-U002" "the configuration is wrong"
        "`mcrun.toml` has a syntax error, an unknown key or a value outside its range."
        "Correct the file and line that the message names; `mcrun doctor` checks the whole file.";
    Internal "MC-Z001" "mcrun made a mistake"
        "Something happened that should be impossible."
        "Please report it with the output of `mcrun show RUN --json`.";
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Code::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

/// The text names no code of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an error code of this version")]
pub struct UnknownCode(String);

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
