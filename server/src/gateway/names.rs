//! Where upstream's name of a field is not ours. Numbers are equal, names are only seen in JSON.

use prost_reflect::prost_types::{DescriptorProto, FileDescriptorSet};

/// Message, our name, upstream's; `*` for every message.
const NAMES: [(&str, &str, &str); 26] = [
    ("DowngradeInfo", "target_version", "targetVersion"),
    ("AuthStatusResponse", "auth_revision", "authRevision"),
    ("Permission", "perm_type", "permType"),
    ("Role", "key_permission", "keyPermission"),
    ("MoveLeaderRequest", "target_id", "targetID"),
    ("AlarmMember", "member_id", "memberID"),
    ("AlarmRequest", "member_id", "memberID"),
    ("LeaseCheckpoint", "remaining_ttl", "remaining_TTL"),
    ("StatusResponse", "db_size", "dbSize"),
    ("StatusResponse", "raft_index", "raftIndex"),
    ("StatusResponse", "raft_term", "raftTerm"),
    ("StatusResponse", "raft_applied_index", "raftAppliedIndex"),
    ("StatusResponse", "db_size_in_use", "dbSizeInUse"),
    ("StatusResponse", "storage_version", "storageVersion"),
    ("StatusResponse", "db_size_quota", "dbSizeQuota"),
    ("StatusResponse", "downgrade_info", "downgradeInfo"),
    ("StatusResponse", "is_learner", "isLearner"),
    ("Member", "is_learner", "isLearner"),
    ("MemberAddRequest", "is_learner", "isLearner"),
    ("AuthUserAddRequest", "hashed_password", "hashedPassword"),
    ("AuthUserChangePasswordRequest", "hashed_password", "hashedPassword"),
    ("LeaseTimeToLiveResponse", "granted_ttl", "grantedTTL"),
    ("*", "id", "ID"),
    ("*", "ttl", "TTL"),
    ("*", "peer_urls", "peerURLs"),
    ("*", "client_urls", "clientURLs"),
];

/// Gives all fields upstream's names.
pub(super) fn rename(files: &mut FileDescriptorSet) {
    for file in &mut files.file {
        if matches!(file.package(), "etcdserverpb" | "mvccpb" | "authpb") {
            file.message_type.iter_mut().for_each(rename_message);
        }
    }
}

fn rename_message(message: &mut DescriptorProto) {
    let owner = message.name().to_owned();
    for field in &mut message.field {
        let ours = field.name().to_owned();
        let row = NAMES.iter().find(|(of, name, _)| (*of == "*" || *of == owner) && *name == ours);
        if let Some((_, _, theirs)) = row {
            field.name = Some((*theirs).to_owned());
            field.json_name = Some((*theirs).to_owned());
        }
    }
    message.nested_type.iter_mut().for_each(rename_message);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_name_in_the_table_is_a_fields() {
        let pool = super::super::pool();
        let name_of = |message: &str, number: u32| {
            let message = pool.get_message_by_name(message).unwrap();
            message.get_field(number).unwrap().name().to_owned()
        };
        assert_eq!(name_of("etcdserverpb.Member", 1), "ID");
        assert_eq!(name_of("etcdserverpb.Member", 3), "peerURLs");
        assert_eq!(name_of("etcdserverpb.StatusResponse", 3), "dbSize");
        assert_eq!(name_of("etcdserverpb.RangeRequest", 2), "range_end");
        assert_eq!(name_of("authpb.Permission", 1), "permType");
    }
}
