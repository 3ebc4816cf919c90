//! alarm list, disarm.

use super::session::Call;
use crate::failure::Failure;
use crate::print::Answer;
use holdfast_api::etcdserverpb::alarm_request::AlarmAction;
use holdfast_api::etcdserverpb::{AlarmRequest, AlarmResponse};

/// `alarm list`
pub(super) async fn list(call: &Call) -> Result<(), Failure> {
    if !call.given.arguments().is_empty() {
        return Err(Failure::arguments("alarm list command accepts no arguments"));
    }
    let session = call.session()?;
    let response =
        session.check(session.client.maintenance().alarm(AlarmRequest::default()).await)?;
    session.print(&Answer::Alarm(&response))
}

/// `alarm disarm`: every alarm that is raised.
pub(super) async fn disarm(call: &Call) -> Result<(), Failure> {
    if !call.given.arguments().is_empty() {
        return Err(Failure::arguments("alarm disarm command accepts no arguments"));
    }
    let session = call.session()?;
    let raised =
        session.check(session.client.maintenance().alarm(AlarmRequest::default()).await)?;
    let mut disarmed = AlarmResponse::default();
    for alarm in raised.alarms {
        let request = AlarmRequest {
            action: AlarmAction::Deactivate as i32,
            member_id: alarm.member_id,
            alarm: alarm.alarm,
        };
        let response = session.check(session.client.maintenance().alarm(request).await)?;
        disarmed.alarms.extend(response.alarms);
    }
    session.print(&Answer::Alarm(&disarmed))
}
