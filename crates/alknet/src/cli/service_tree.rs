//! Operations as a tree: nodes, their services, and what those do.

use std::collections::BTreeMap;

use alknet_call::ListedOperation;
use serde::Serialize;

use super::output::printable;

/// What the node itself is called in a tree for people.
const THIS_NODE: &str = "(this node)";

/// A tree of operations.
#[derive(Debug, Serialize)]
pub struct ServiceTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    /// The worker; absent for the node that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    services: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct Service {
    service: String,
    operations: Vec<Leaf>,
}

#[derive(Debug, Serialize)]
struct Leaf {
    operation: String,
    kind: String,
    title: String,
}

impl ServiceTree {
    /// Sorts operations by node, service and name.
    pub fn of(operations: &[ListedOperation]) -> Self {
        let mut nodes: BTreeMap<Option<&str>, BTreeMap<&str, Vec<Leaf>>> = BTreeMap::new();
        for listed in operations {
            let (rest, operation) = listed.name.rsplit_once('/').unwrap_or(("", &listed.name));
            let (node, service) = rest.rsplit_once('/').map_or((None, rest), |(node, service)| (Some(node), service));
            let leaf = Leaf { operation: operation.to_owned(), kind: listed.kind.clone(), title: listed.title.clone() };
            nodes.entry(node).or_default().entry(service).or_default().push(leaf);
        }
        let service = |(service, operations): (&str, Vec<Leaf>)| Service { service: service.to_owned(), operations };
        let node = |(node, services): (Option<&str>, BTreeMap<&str, Vec<Leaf>>)| Node {
            node: node.map(str::to_owned),
            services: services.into_iter().map(service).collect(),
        };
        Self { nodes: nodes.into_iter().map(node).collect() }
    }

    /// The tree for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for node in &self.nodes {
            lines.push(printable(node.node.as_deref().unwrap_or(THIS_NODE)));
            for (nth, service) in node.services.iter().enumerate() {
                let is_last = nth + 1 == node.services.len();
                lines.push(format!("{}{}", branch(is_last), printable(&service.service)));
                let stem = if is_last { "    " } else { "│   " };
                let width = service.operations.iter().map(|leaf| leaf.operation.chars().count()).max().unwrap_or(0);
                for (nth, leaf) in service.operations.iter().enumerate() {
                    let twig = branch(nth + 1 == service.operations.len());
                    let (name, title) = (printable(&leaf.operation), printable(&leaf.title));
                    let text = format!("{stem}{twig}{name:width$}  {:12}  {title}", printable(&leaf.kind));
                    lines.push(text.trim_end().to_owned());
                }
            }
        }
        lines
    }
}

const fn branch(is_last: bool) -> &'static str {
    if is_last { "└── " } else { "├── " }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str) -> ListedOperation {
        let (title, kind) = ("A\u{1b}[1m title".to_owned(), "query".to_owned());
        ListedOperation { name: name.to_owned(), title, kind, version: 1, deprecated: false }
    }

    #[test]
    fn a_tree_has_the_node_itself_first_and_steers_no_terminal() {
        let tree = ServiceTree::of(&["box/fs/read", "a/b", "box/fs/ls", "a/cc", "box/x/y", "d/e"].map(listed));
        let lines = tree.lines();
        assert_eq!(
            lines,
            [
                "(this node)",
                "├── a",
                "│   ├── b   query         A\\u{1b}[1m title",
                "│   └── cc  query         A\\u{1b}[1m title",
                "└── d",
                "    └── e  query         A\\u{1b}[1m title",
                "box",
                "├── fs",
                "│   ├── read  query         A\\u{1b}[1m title",
                "│   └── ls    query         A\\u{1b}[1m title",
                "└── x",
                "    └── y  query         A\\u{1b}[1m title",
            ]
        );
        let json = serde_json::to_value(&tree).unwrap();
        assert_eq!(json["nodes"][1]["node"], "box");
        assert!(json["nodes"][0].get("node").is_none());
    }
}
