//! Stores that misbehave on purpose, as ordinary implementations of `ObjectStore`.
//!
//! `Faulty` does one named thing at the n-th call or to every object of some name; `Weather`
//! delays, loses and doubles requests and answers by a seed, in the time of the runtime (paused in
//! simulations). Both wrap any other store, so that what is tested is the code that runs in
//! production.

mod clocked;
mod faulty;
mod weather;

pub use clocked::Clocked;
pub use faulty::{Fault, Faulty};
pub use weather::{Weather, WeatherOptions};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectMeta;

/// A failure of the kind that a network gives.
pub(crate) fn network_error(what: &str) -> object_store::Error {
    let source = std::io::Error::new(std::io::ErrorKind::ConnectionReset, what.to_owned());
    object_store::Error::Generic { store: "faulty", source: Box::new(source) }
}

/// A stream out of a future listing.
pub(crate) fn flatten_list(
    listing: impl Future<Output = object_store::Result<Vec<ObjectMeta>>> + Send + 'static,
) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
    futures::stream::once(listing)
        .flat_map(|outcome| match outcome {
            Ok(items) => futures::stream::iter(items.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => futures::stream::iter(vec![Err(error)]),
        })
        .boxed()
}
