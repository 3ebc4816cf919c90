//! Before a tree is written: empty nodes go away, small ones join a neighbour, a root with one
//! child gives way to it.
//!
//! What must hold afterwards: every branch has two children or more (bbolt ends its process on one
//! that has a single child and is to be merged), and every leaf but a root has an entry.

use super::node::{Child, Kind, Node, To, wrong_type};
use super::write::Context;
use crate::error::ReadError;
use crate::layout::MAX_TREE_DEPTH;
use crate::source::PageSource;

/// Elements below which a branch joins its neighbour, whatever its size.
const MIN_CHILDREN: usize = 2;

/// Puts the tree at `root` in order. `small_bytes`: a node that lost elements and is not larger is
/// joined with a neighbour.
pub(super) fn balance<P: PageSource>(
    root: &mut Box<Node>,
    context: &mut Context<P>,
    small_bytes: usize,
) -> Result<(), ReadError> {
    below(root, context, small_bytes)?;
    for _ in 0..MAX_TREE_DEPTH {
        let Kind::Branch(children) = &mut root.kind else { break };
        if children.len() > 1 {
            break;
        }
        let run = root.run;
        **root = match children.pop() {
            None => Node::default(),
            Some(mut only) => std::mem::take(only.load(context)?),
        };
        context.free(run);
    }
    Ok(())
}

/// Puts the children of a node in order, the lowest level first.
fn below<P: PageSource>(
    node: &mut Node,
    context: &mut Context<P>,
    small_bytes: usize,
) -> Result<(), ReadError> {
    let Kind::Branch(children) = &mut node.kind else { return Ok(()) };
    for child in children.iter_mut() {
        if let To::Loaded(node) = &mut child.to {
            below(node, context, small_bytes)?;
        }
    }
    let mut at = 0;
    while at < children.len() {
        let To::Loaded(child) = &children[at].to else {
            at += 1;
            continue;
        };
        if child.len() == 0 {
            context.free(child.run);
            children.remove(at);
            node.shrunk = true;
        } else if children.len() > 1 && is_small(child, small_bytes) {
            at = at.saturating_sub(1);
            join(children, at, context, small_bytes)?;
            node.shrunk = true;
        } else {
            at += 1;
        }
    }
    Ok(())
}

fn is_small(node: &Node, small_bytes: usize) -> bool {
    match &node.kind {
        Kind::Leaf(_) => node.shrunk && node.size_bytes() <= small_bytes,
        Kind::Branch(children) => {
            let few = children.len() < MIN_CHILDREN;
            few || (node.shrunk && node.size_bytes() <= small_bytes)
        }
    }
}

/// Adds the child after `at` to the one at `at`.
fn join<P: PageSource>(
    children: &mut Vec<Child>,
    at: usize,
    context: &mut Context<P>,
    small_bytes: usize,
) -> Result<(), ReadError> {
    let mut right = children.remove(at + 1);
    let right = std::mem::take(right.load(context)?);
    let left = children[at].load(context)?;
    match (&mut left.kind, right.kind) {
        (Kind::Leaf(entries), Kind::Leaf(more)) => entries.extend(more),
        (Kind::Branch(children), Kind::Branch(more)) => children.extend(more),
        _ => return Err(wrong_type(right.run.page)),
    }
    left.shrunk = true;
    context.free(right.run);
    // A single child that had no neighbour may have one now.
    below(left, context, small_bytes)
}
