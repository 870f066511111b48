//! `subscriptions/listen`: change notifications of the stateless era. Source: wire reference §3.6.

use crate::json::RawJson;
use crate::structure::structure;

structure! {
    /// What a client wants to hear, or what of it the server will tell. Absent means no.
    pub struct SubscriptionFilter {
        /// Changes of the tool list.
        opt tools_list_changed "toolsListChanged": bool;
        /// Changes of the prompt list.
        opt prompts_list_changed "promptsListChanged": bool;
        /// Changes of the resource and template lists.
        opt resources_list_changed "resourcesListChanged": bool;
        /// Changes of these resources.
        opt resource_subscriptions "resourceSubscriptions": Vec<Box<str>>;
        /// Changes of these tasks (tasks extension).
        opt task_ids "taskIds": Vec<Box<str>>;
    }
}

structure! {
    /// What `subscriptions/listen` asks for.
    pub struct ListenParams {
        /// What to hear.
        req notifications "notifications": SubscriptionFilter;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `notifications/subscriptions/acknowledged` says.
    pub struct AcknowledgedParams {
        /// What of it the server will tell.
        req notifications "notifications": SubscriptionFilter;
        /// Metadata; holds the subscription id.
        opt meta "_meta": RawJson;
    }
}
