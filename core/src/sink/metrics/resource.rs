//! The attributes of the resource that OpenTelemetry's metrics describe. Their names are those of
//! the kubeletstats receiver.

use crate::summary::Pod;

/// Which part of a pod or of the node a context describes.
#[derive(Debug, Clone, Copy)]
pub enum Entity<'e> {
    /// The pod or the node itself.
    Whole,
    /// A container of the pod, with its id and image if they are known.
    Container {
        name: &'e str,
        id: Option<&'e str>,
        image: Option<&'e str>,
    },
    /// A volume of the pod, and its claim.
    Volume { name: &'e str, claim: &'e str },
    /// A system container.
    SystemContainer { name: &'e str },
}

/// A container has the most attributes: three of its pod, its own four, the node and the cluster.
const MOST: usize = 9;

/// The attributes of one resource. An empty value is not added.
#[derive(Debug, Default)]
pub struct Attributes<'a> {
    pairs: [(&'static str, &'a str); MOST],
    count: usize,
}

impl<'a> Attributes<'a> {
    /// Returns the attributes of a pod, or of the node if there is no pod.
    pub fn of(
        pod: Option<&'a Pod>,
        entity: Entity<'a>,
        node: &'a str,
        cluster: Option<&'a str>,
    ) -> Self {
        let mut these = Self::default();
        if let Some(pod) = pod {
            these.push("k8s.namespace.name", &pod.namespace);
            these.push("k8s.pod.name", &pod.name);
            these.push("k8s.pod.uid", &pod.uid);
        }
        match entity {
            Entity::Whole => {}
            Entity::Container { name, id, image } => {
                let (image, tag) = image.map_or(("", ""), without_tag);
                these.push("k8s.container.name", name);
                these.push("container.id", id.unwrap_or_default());
                these.push("container.image.name", image);
                these.push("container.image.tag", tag);
            }
            Entity::Volume { name, claim } => {
                these.push("k8s.volume.name", name);
                these.push("k8s.persistentvolumeclaim.name", claim);
            }
            Entity::SystemContainer { name } => these.push("k8s.node.system_container.name", name),
        }
        these.push("k8s.node.name", node);
        these.push("k8s.cluster.name", cluster.unwrap_or_default());
        these
    }

    fn push(&mut self, key: &'static str, value: &'a str) {
        if !value.is_empty() {
            self.pairs[self.count] = (key, value);
            self.count += 1;
        }
    }

    /// Returns all attributes.
    pub fn pairs(&self) -> &[(&'static str, &'a str)] {
        &self.pairs[..self.count]
    }
}

/// Returns an image's name, and its tag if it has one. A digest belongs to neither.
fn without_tag(image: &str) -> (&str, &str) {
    let image = image.split_once('@').map_or(image, |(named, _)| named);
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[last..].rfind(':') {
        Some(colon) => (&image[..last + colon], &image[last + colon + 1..]),
        None => (image, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_its_name_and_its_tag() {
        for (image, name, tag) in [
            ("busybox", "busybox", ""),
            ("busybox:1.36", "busybox", "1.36"),
            ("registry:5000/team/app", "registry:5000/team/app", ""),
            ("registry:5000/team/app:v2", "registry:5000/team/app", "v2"),
            ("app:v2@sha256:00ff", "app", "v2"),
            ("app@sha256:00ff", "app", ""),
            ("", "", ""),
        ] {
            assert_eq!(without_tag(image), (name, tag), "{image}");
        }
    }

    #[test]
    fn no_resource_has_more_attributes_than_there_is_room_for() {
        let pod = Pod {
            name: "p".into(),
            namespace: "n".into(),
            uid: "u".into(),
            ..Pod::default()
        };
        let container = Entity::Container {
            name: "c",
            id: Some("i"),
            image: Some("a:b"),
        };
        let all = Attributes::of(Some(&pod), container, "node", Some("cluster"));
        assert_eq!(all.pairs().len(), MOST);
        let none = Attributes::of(None, Entity::Whole, "", None);
        assert!(none.pairs().is_empty());
    }
}
