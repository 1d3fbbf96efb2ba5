"""What people do with an upstream or a store, each command in a module of its own, all thin.

check                `check`: what the upstream is, and how it takes a session
progress             the progress of long work, on standard error
client_keys          which of the clients' keys is meant, and how it is changed
tenant_selector      which tenant the flags name
named_conversation   which conversation a name means
export               `export`: all conversations, those of one tenant, or one
conversation_list    `conversations list`
conversation_show    `conversations show`
delete               `delete`: everything of a tenant, or everything
conversation_delete  `conversations delete`
key_add              `keys add`
key_list             `keys list`
key_set              `keys set`
key_rotate           `keys rotate`
key_revoke           `keys revoke`
inspect              `inspect`: a conversation as the inspector shows it
prune                `prune`, by the rules in the settings
verify               `verify`
backup               `backup`
upgrade              `upgrade`: the store to this version's schema, without serving
rekey                `rekey`: re-encrypt the store with the first key
migrate              `migrate`, from one store to another
openwebui            `import openwebui`
parsers              where each command stands on the command line
"""
