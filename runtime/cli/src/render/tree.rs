//! Owns the tree of a run that is under way: steps, branches and the effects beneath them. Knows nothing of terminals
//! but their width and height, and of time only what it is told. Leaves drawing to `live`.

mod line;

use std::time::Duration;

use anstyle::Style;
use journal::Identity;

use self::line::Line;
use super::{BOLD, CYAN, DIM, YELLOW, duration, printable};

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// More effects than this are not kept for one step; the oldest are let go first, as lines of their own.
const MOST_KEPT: usize = 500;

/// How an effect ended.
pub(super) struct End {
    pub(super) symbol: &'static str,
    pub(super) style: Style,
    pub(super) millis: i64,
    pub(super) failure: Option<String>,
}

struct Leaf {
    counter: u32,
    name: String,
    subject: String,
    started: Duration,
    end: Option<End>,
}

struct Scope {
    segment: String,
    started: Duration,
    /// When the last effect beneath it ended.
    latest: Duration,
    children: Vec<Node>,
}

enum Node {
    Scope(Scope),
    Effect(Leaf),
}

/// What is under way, and what has ended beside it.
#[derive(Default)]
pub(super) struct Tree {
    roots: Vec<Node>,
}

/// How wide and high the tree may be, and when it is drawn.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) now: Duration,
}

impl Tree {
    /// Takes in an effect that starts. Returns the lines of what can no longer change, because the script has gone on
    /// to something else.
    pub(super) fn started(&mut self, identity: &Identity, subject: &str, now: Duration) -> Vec<String> {
        let settled = self.left_for(&identity.scope, now);
        let path = segments(&identity.scope);
        let mut children = &mut self.roots;
        for segment in path {
            children = &mut scope_of(children, segment, now).children;
        }
        children.push(Node::Effect(Leaf {
            counter: identity.counter,
            name: identity.name.clone(),
            subject: one_line(subject),
            started: now,
            end: None,
        }));
        settled
    }

    /// Takes in that the script is now in `scope`. Returns the lines of what it has left for that.
    pub(super) fn left_for(&mut self, scope: &str, now: Duration) -> Vec<String> {
        let path = segments(scope);
        let group = path.first().map(|segment| group(segment));
        let (stays, settled): (Vec<Node>, Vec<Node>) =
            std::mem::take(&mut self.roots).into_iter().partition(|root| match root {
                Node::Scope(scope) => root.is_running() || Some(self::group(&scope.segment)) == group,
                Node::Effect(_) => root.is_running(),
            });
        self.roots = stays;
        whole(&settled, now)
    }

    /// Takes in an effect's end; without an [`End`] it leaves no trace. Returns the lines that are settled by it.
    pub(super) fn ended(
        &mut self,
        identity: &Identity,
        subject: &str,
        end: Option<End>,
        now: Duration,
    ) -> Vec<String> {
        let path = segments(&identity.scope);
        if end.is_some() && !self.knows(&path, identity) {
            // It was refused before it could start.
            let mut settled = self.started(identity, subject, now);
            settled.extend(self.ended(identity, subject, end, now));
            return settled;
        }
        remove_or_end(&mut self.roots, &path, identity, end, now);
        let (stays, settled): (Vec<Node>, Vec<Node>) = std::mem::take(&mut self.roots)
            .into_iter()
            .partition(|root| matches!(root, Node::Scope(_)) || root.is_running());
        self.roots = stays;
        let mut lines = whole(&settled, now);
        while self.roots.iter().map(Node::ended_effects).sum::<usize>() > MOST_KEPT {
            let Some(oldest) = self.roots.iter_mut().find_map(|root| root.let_go(now)) else { break };
            lines.push(oldest.whole());
        }
        lines
    }

    fn knows(&self, path: &[String], identity: &Identity) -> bool {
        let mut children = &self.roots;
        for segment in path {
            match children.iter().find_map(|child| child.scope(segment)) {
                Some(scope) => children = &scope.children,
                None => return false,
            }
        }
        children.iter().any(|child| child.is_open(identity))
    }

    /// Everything that is left, at the end of the run.
    pub(super) fn finish(&mut self, now: Duration) -> Vec<String> {
        let mut left = std::mem::take(&mut self.roots);
        left.iter_mut().for_each(|root| root.cut(now));
        whole(&left, now)
    }

    /// The tree within `frame`: what has ended gives way first, the oldest before the newest.
    pub(super) fn lines(&self, frame: Frame) -> Vec<String> {
        let room = frame.height.max(1);
        let ended: usize = self.roots.iter().map(Node::ended_effects).sum();
        let mut hidden = 0;
        let mut lines = painted(&self.roots, &mut { hidden }, frame.now);
        while lines.len() + usize::from(hidden > 0) > room && hidden < ended {
            hidden = (hidden + lines.len() + 1 - room).min(ended);
            lines = painted(&self.roots, &mut { hidden }, frame.now);
        }
        if hidden > 0 && room > 1 {
            lines.insert(0, Line::remark(format!("… {hidden} more have ended")));
        }
        if lines.len() > room {
            let more = lines.len() - (room - 1);
            lines.truncate(room - 1);
            lines.push(Line::remark(format!("… {more} more lines")));
        }
        lines.iter().map(|line| line.fitted(frame.width)).collect()
    }
}

/// The path of a scope, with `retry` and the number of its attempt in one.
fn segments(scope: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for segment in scope.split('/').filter(|segment| !segment.is_empty()) {
        match found.last_mut() {
            Some(last) if group(last) == "retry" && !last.contains('/') => {
                last.push('/');
                last.push_str(segment);
            }
            _ => found.push(one_line(segment)),
        }
    }
    found
}

/// What a scope is one of: the branches of one `parallel` and the attempts of one `retry` belong together.
fn group(segment: &str) -> &str {
    let name = segment.split('/').next().unwrap_or_default();
    match name.split_once('.') {
        Some((parallel, _)) if parallel == "parallel" || parallel.starts_with("parallel~") => parallel,
        _ if name.starts_with("retry~") => "retry",
        _ => name,
    }
}

fn scope_of(children: &mut Vec<Node>, segment: String, now: Duration) -> &mut Scope {
    let found = children.iter().position(|child| child.scope(&segment).is_some());
    let at = found.unwrap_or_else(|| {
        children.push(Node::Scope(Scope { segment, started: now, latest: now, children: Vec::new() }));
        children.len() - 1
    });
    match &mut children[at] {
        Node::Scope(scope) => scope,
        Node::Effect(_) => unreachable!("the position is that of a scope"),
    }
}

fn remove_or_end(
    children: &mut Vec<Node>,
    path: &[String],
    identity: &Identity,
    end: Option<End>,
    now: Duration,
) {
    let Some((segment, rest)) = path.split_first() else {
        let Some(at) = children.iter().position(|child| child.is_open(identity)) else { return };
        match (&mut children[at], end) {
            (Node::Effect(leaf), Some(end)) => leaf.end = Some(end),
            _ => {
                children.remove(at);
            }
        }
        return;
    };
    let Some(at) = children.iter().position(|child| child.scope(segment).is_some()) else { return };
    let Node::Scope(scope) = &mut children[at] else { return };
    scope.latest = now;
    remove_or_end(&mut scope.children, rest, identity, end, now);
}

impl Node {
    /// The scope of this name, if it is that.
    fn scope(&self, segment: &str) -> Option<&Scope> {
        match self {
            Node::Scope(scope) if scope.segment == segment => Some(scope),
            _ => None,
        }
    }

    /// Whether it is this effect, and under way.
    fn is_open(&self, identity: &Identity) -> bool {
        matches!(self, Node::Effect(leaf)
            if leaf.end.is_none() && leaf.counter == identity.counter && leaf.name == identity.name)
    }

    fn is_running(&self) -> bool {
        match self {
            Node::Scope(scope) => scope.children.iter().any(Node::is_running),
            Node::Effect(leaf) => leaf.end.is_none(),
        }
    }

    fn ended_effects(&self) -> usize {
        match self {
            Node::Scope(scope) => scope.children.iter().map(Node::ended_effects).sum(),
            Node::Effect(leaf) => usize::from(leaf.end.is_some()),
        }
    }

    /// Marks what is still under way as cut: nothing spins any more.
    fn cut(&mut self, now: Duration) {
        match self {
            Node::Scope(scope) => {
                scope.latest = if scope.children.iter().any(Node::is_running) { now } else { scope.latest };
                scope.children.iter_mut().for_each(|child| child.cut(now));
            }
            Node::Effect(leaf) => {
                let millis = millis(leaf.started, now);
                leaf.end.get_or_insert(End { symbol: "…", style: YELLOW, millis, failure: None });
            }
        }
    }

    /// Takes out the oldest effect that has ended, as a line that names its scope.
    fn let_go(&mut self, now: Duration) -> Option<Line> {
        let Node::Scope(scope) = self else { return None };
        let mut found = None;
        for at in 0..scope.children.len() {
            found = match &mut scope.children[at] {
                Node::Effect(leaf) if leaf.end.is_some() => {
                    let line = effect_line(leaf, now);
                    scope.children.remove(at);
                    Some(line)
                }
                Node::Effect(_) => None,
                inner => inner.let_go(now),
            };
            if found.is_some() {
                break;
            }
        }
        // A scope with nothing left in it would only be a name.
        scope.children.retain(|child| !matches!(child, Node::Scope(inner) if inner.children.is_empty()));
        let mut line = found?;
        let path = if line.text.len() > 2 { "/" } else { " " };
        line.text.insert(0, (DIM, format!("{}{path}", scope.segment)));
        Some(line)
    }
}

/// The lines of nodes that are printed and stay, whatever their width.
fn whole(nodes: &[Node], now: Duration) -> Vec<String> {
    painted(nodes, &mut 0, now).iter().map(Line::whole).collect()
}

fn painted(nodes: &[Node], hide: &mut usize, now: Duration) -> Vec<Line> {
    nodes.iter().flat_map(|node| painted_node(node, hide, now)).collect()
}

fn painted_node(node: &Node, hide: &mut usize, now: Duration) -> Vec<Line> {
    let scope = match node {
        Node::Effect(leaf) if leaf.end.is_some() && *hide > 0 => {
            *hide -= 1;
            return Vec::new();
        }
        Node::Effect(leaf) => return vec![effect_line(leaf, now)],
        Node::Scope(scope) => scope,
    };
    let children: Vec<(bool, Vec<Line>)> = scope
        .children
        .iter()
        .map(|child| (matches!(child, Node::Scope(_)), painted_node(child, hide, now)))
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    // A scope with a single one in it shares its line, and so does a branch with a single effect: many run at once.
    let is_branch = group(&scope.segment) != scope.segment;
    if let [(is_scope, only)] = children.as_slice()
        && (*is_scope || is_branch)
    {
        let mut lines = only.clone();
        let between = if *is_scope { "/" } else { " " };
        lines[0].text.insert(0, (BOLD, format!("{}{between}", scope.segment)));
        return lines;
    }
    let last = children.len().saturating_sub(1);
    let mut lines = Vec::new();
    for (index, (_, inner)) in children.into_iter().enumerate() {
        for (row, mut line) in inner.into_iter().enumerate() {
            line.guides.insert(0, guide(row == 0, index == last));
            lines.push(line);
        }
    }
    if !lines.is_empty() {
        lines.insert(0, scope_line(scope, node.is_running(), now));
    }
    lines
}

fn guide(first: bool, last: bool) -> &'static str {
    match (first, last) {
        (true, false) => "├ ",
        (true, true) => "└ ",
        (false, false) => "│ ",
        (false, true) => "  ",
    }
}

fn effect_line(leaf: &Leaf, now: Duration) -> Line {
    let (mark, time) = match &leaf.end {
        Some(end) => ((end.style, end.symbol.to_owned()), (DIM, duration(end.millis))),
        None => ((CYAN, spinner(now)), (CYAN, elapsed(leaf.started, now))),
    };
    Line {
        mark: Some(mark),
        text: vec![(BOLD, leaf.name.clone()), (Style::new(), format!(" {}", leaf.subject))],
        time: Some(time),
        failure: leaf.end.as_ref().and_then(|end| end.failure.clone()),
        ..Line::default()
    }
}

fn scope_line(scope: &Scope, running: bool, now: Duration) -> Line {
    let mark = running.then(|| (CYAN, spinner(now)));
    let until = if running { now } else { scope.latest };
    Line {
        mark,
        text: vec![(BOLD, scope.segment.clone())],
        time: Some((if running { CYAN } else { DIM }, elapsed(scope.started, until))),
        ..Line::default()
    }
}

/// Text on one line that cannot drive the terminal.
fn one_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

fn spinner(now: Duration) -> String {
    let frame = usize::try_from(now.as_millis() / 100).unwrap_or_default() % FRAMES.len();
    FRAMES[frame].to_owned()
}

fn elapsed(started: Duration, now: Duration) -> String {
    duration(millis(started, now))
}

fn millis(started: Duration, now: Duration) -> i64 {
    i64::try_from(now.saturating_sub(started).as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
