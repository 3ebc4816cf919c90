//! Delays, losses and doubles by a seed.
//!
//! Every request takes a random time to arrive and its answer a random time to come back; either
//! may be lost, and a request that was lost for its caller may still take effect much later, or
//! twice. Time is the runtime's: under a paused clock a simulated month costs nothing and one seed
//! gives one schedule.

use super::{flatten_list, network_error};
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How bad the weather is. Chances are in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct WeatherOptions {
    /// Usual longest delay of one direction, milliseconds.
    pub delay_ms: u64,
    /// Chance that a direction takes up to `long_delay_ms`.
    pub long: u64,
    /// Longest delay of a long one, milliseconds.
    pub long_delay_ms: u64,
    /// Chance that a request is lost on its way.
    pub lose_request: u64,
    /// Chance that an answer is lost.
    pub lose_answer: u64,
    /// Chance that a lost write takes effect late after all, and that a write arrives twice.
    pub late: u64,
    /// Chance that a listing is stale: names of the last hour are missing at random.
    pub stale_list: u64,
    /// Chance that the machine is suspended between deciding on a create and sending it; of other
    /// puts a tenth.
    pub suspended: u64,
    /// Longest suspension, milliseconds.
    pub suspended_ms: u64,
}

impl WeatherOptions {
    /// No delay, no loss.
    pub const CALM: WeatherOptions = WeatherOptions {
        delay_ms: 1,
        long: 0,
        long_delay_ms: 1,
        lose_request: 0,
        lose_answer: 0,
        late: 0,
        stale_list: 0,
        suspended: 0,
        suspended_ms: 1,
    };
}

/// One client's way to a store, with weather on it.
#[derive(Debug)]
pub struct Weather {
    inner: Arc<dyn ObjectStore>,
    options: Mutex<WeatherOptions>,
    random: Mutex<u64>,
}

impl Weather {
    /// A way to `inner` whose weather follows `seed`.
    pub fn new(inner: Arc<dyn ObjectStore>, options: WeatherOptions, seed: u64) -> Weather {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Weather { inner, options: Mutex::new(options), random: Mutex::new(random) }
    }

    /// Changes the weather from now on.
    pub fn set(&self, options: WeatherOptions) {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner) = options;
    }

    fn options(&self) -> WeatherOptions {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self, limit: u64) -> u64 {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % limit.max(1)
    }

    fn chance(&self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    /// How long one direction takes.
    fn delay_ms(&self) -> u64 {
        let options = self.options();
        let longest =
            if self.chance(options.long) { options.long_delay_ms } else { options.delay_ms };
        self.below(longest) + 1
    }

    async fn travel(&self) {
        tokio::time::sleep(Duration::from_millis(self.delay_ms())).await;
    }

    /// Runs a write: it may be lost, late, doubled, or its answer lost.
    async fn write<T: Send + 'static>(
        &self,
        act: impl Fn() -> futures::future::BoxFuture<'static, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let options = self.options();
        self.travel().await;
        if self.chance(options.lose_request) {
            if self.chance(options.late) {
                self.later(act());
            }
            return Err(network_error("the request was lost"));
        }
        let answer = act().await;
        if self.chance(options.late) {
            self.later(act());
        }
        self.travel().await;
        if self.chance(options.lose_answer) {
            return Err(network_error("the answer was lost"));
        }
        answer
    }

    fn later<T: Send + 'static>(&self, act: futures::future::BoxFuture<'static, Result<T>>) {
        let delay = Duration::from_millis(self.below(self.options().long_delay_ms) + 1);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            drop(act.await);
        });
    }

    async fn read<T>(&self, act: impl Future<Output = Result<T>>) -> Result<T> {
        let options = self.options();
        self.travel().await;
        if self.chance(options.lose_request) {
            return Err(network_error("the request was lost"));
        }
        let answer = act.await;
        self.travel().await;
        if self.chance(options.lose_answer) {
            return Err(network_error("the answer was lost"));
        }
        answer
    }

    fn listing(
        &self,
        stream: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let options = self.options();
        let delay = Duration::from_millis(self.delay_ms());
        let lost = self.chance(options.lose_answer);
        let keep_half = self.chance(options.stale_list).then(|| self.below(u64::MAX));
        flatten_list(async move {
            tokio::time::sleep(delay).await;
            if lost {
                return Err(network_error("a listing was lost"));
            }
            let mut items: Vec<ObjectMeta> = stream.try_collect().await?;
            if let Some(pattern) = keep_half {
                let newest = items.len().saturating_sub(8);
                let mut index = 0;
                items.retain(|_| {
                    index += 1;
                    index <= newest || pattern >> (index % 64) & 1 == 1
                });
            }
            Ok(items)
        })
    }
}

impl std::fmt::Display for Weather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weather({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Weather {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (inner, location) = (self.inner.clone(), location.clone());
        let weather = self.options();
        let create = options.mode == PutMode::Create;
        if self.chance(if create { weather.suspended } else { weather.suspended / 10 }) {
            let delay_ms = self.below(weather.suspended_ms) + 1;
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        self.write(move || {
            let (inner, location) = (inner.clone(), location.clone());
            let (payload, options) = (payload.clone(), options.clone());
            Box::pin(async move { inner.put_opts(&location, payload, options).await })
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.read(self.inner.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read(self.inner.get_opts(location, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let options = self.options();
        let inner = self.inner.clone();
        let lost_before = self.chance(options.lose_request);
        let lost_after = self.chance(options.lose_answer);
        let late = self.chance(options.late).then(|| self.below(options.long_delay_ms) + 1);
        let delay = Duration::from_millis(self.delay_ms());
        locations
            .then(move |location| {
                let inner = inner.clone();
                async move {
                    let location = location?;
                    tokio::time::sleep(delay).await;
                    let one = futures::stream::iter([Ok(location.clone())]).boxed();
                    if let Some(late_ms) = late {
                        let again = futures::stream::iter([Ok(location.clone())]).boxed();
                        let inner = inner.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(late_ms)).await;
                            let _: Result<Vec<Path>> =
                                inner.delete_stream(again).try_collect().await;
                        });
                    }
                    if lost_before {
                        return Err(network_error("a delete was lost"));
                    }
                    let _: Vec<Path> = inner.delete_stream(one).try_collect().await?;
                    if lost_after {
                        return Err(network_error("a delete's answer was lost"));
                    }
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.read(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.read(self.inner.copy_opts(from, to, options)).await
    }
}
