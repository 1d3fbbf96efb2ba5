"""What people do with a store, each command in a module of its own, all of them thin.

progress   how far long work has come, on standard error
whose      the tenant that a user or a credential is, as a request would have it
holdings   `conversations list | show | delete`, `delete`
prune      `prune`, by the rules in the settings
verify     `verify`
backup     `backup`
rekey      `rekey`, encrypt all with the first key
migrate    `migrate`, from one store to another
openwebui  `import openwebui`
parsers    the flags of these commands
"""
