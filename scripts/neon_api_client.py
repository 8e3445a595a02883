#!/usr/bin/env python3
"""Every call of the Python client neon-api 0.3.0 against a running exzo serve.

usage: neon_api_client.py http://HOST:PORT/api/v2/ API_KEY

The client is the one from PyPI, unmodified; `scripts/setup --client` installs it. Its own models parse
every answer. Fails when a call fails, an answer does not parse, or a call of the client was not made.
"""

import inspect
import sys
import time

from neon_api import NeonAPI


class Recorder:
    """The client, noting which of its calls were made."""

    def __init__(self, client):
        self.client = client
        self.made = set()

    def __getattr__(self, name):
        call = getattr(self.client, name)

        def recorded(*arguments, **options):
            for attempt in range(200):
                try:
                    answer = call(*arguments, **options)
                    break
                except Exception as error:  # 423 says: safe to try again
                    if "operation_in_progress" not in str(error) or attempt == 199:
                        raise SystemExit(f"{name}{arguments} {options}: {error}")
                    time.sleep(0.1)
            self.made.add(name)
            print(f"ok {name}")
            return answer

        return recorded


def calls_of_the_client():
    return {
        name
        for name, member in inspect.getmembers(NeonAPI, inspect.isfunction)
        if not name.startswith("_")
    }


def settle(neon, project):
    """Waits until no operation of the project is under way, as users of the client do."""
    for _ in range(600):
        operations = neon.client.operations(project, limit=100).operations
        failed = [o for o in operations if o.status.value in ("failed", "error")]
        if failed:
            raise SystemExit(f"operation failed: {failed[0]}")
        if all(o.status.value == "finished" for o in operations):
            return
        time.sleep(0.1)
    raise SystemExit(f"operations of {project} do not end")


def account(neon):
    me = neon.me()
    assert me.plan and me.billing_account.state.value == "active"
    made = neon.api_key_create(key_name="from the client")
    keys = neon.api_keys()
    assert made.id in [key.id for key in keys] and made.key
    assert neon.api_key_revoke(made.id).revoked
    assert made.id not in [key.id for key in neon.client.api_keys()]


def projects(neon):
    created = neon.project_create(project={"name": "from the client"})
    project = created.project.id
    settle(neon, project)
    assert neon.project(project).project.name == "from the client"
    assert project in [p.id for p in neon.projects(limit=5).projects]
    neon.projects(shared=True)
    changed = neon.project_update(
        project, project={"name": "renamed", "history_retention_seconds": 86400}
    )
    assert changed.project.name == "renamed"
    assert changed.project.history_retention_seconds == 86400
    return project


def permissions(neon, project):
    granted = neon.project_permissions_grant(project, email="friend@example.com")
    listed = neon.project_permissions(project).project_permissions
    assert [p.id for p in listed] == [granted.id]
    revoked = neon.project_permissions_revoke(project, email="friend@example.com")
    assert revoked.id == granted.id and revoked.revoked_at


def branches(neon, project):
    main = neon.branches(project, limit=10).branches[0]
    created = neon.branch_create(project, branch={"name": "dev"})
    settle(neon, project)
    branch = created.branch.id
    assert neon.branch(project, branch).branch.parent_id == main.id
    assert neon.branch_update(project, branch, branch={"name": "dev2"}).branch.name == "dev2"
    assert neon.branch_set_as_primary(project, branch).branch.primary
    neon.client.branch_set_as_primary(project, main.id)
    return main.id, branch


def endpoints(neon, project, main, branch):
    created = neon.endpoint_create(
        project, endpoint={"branch_id": branch, "type": "read_write"}
    )
    settle(neon, project)
    endpoint = created.endpoint.id
    assert neon.endpoint(project, endpoint).endpoint.current_state.value == "active"
    assert len(neon.endpoints(project).endpoints) == 2
    changed = neon.endpoint_update(
        project, endpoint, endpoint={"suspend_timeout_seconds": 600}
    )
    assert changed.endpoint.suspend_timeout_seconds == 600
    neon.endpoint_suspend(project, endpoint)
    settle(neon, project)
    neon.endpoint_start(project, endpoint)
    settle(neon, project)
    return endpoint


def roles_and_databases(neon, project, branch):
    neon.role_create(project, branch, "app")
    settle(neon, project)
    assert "app" in [r.name for r in neon.roles(project, branch).roles]
    assert neon.role(project, branch, "app").role.name == "app"
    password = neon.role_password_reset(project, branch, "app").role.password
    settle(neon, project)
    assert neon.role_password_reveal(project, branch, "app").password == password
    neon.database_create(project, branch, database={"name": "shop", "owner_name": "app"})
    settle(neon, project)
    assert "shop" in [d.name for d in neon.databases(project, branch).databases]
    assert neon.database(project, branch, "shop").database.owner_name == "app"
    changed = neon.database_update(
        project, branch, "shop", database={"owner_name": "exzodb_owner"}
    )
    assert changed.database.owner_name == "exzodb_owner"
    settle(neon, project)
    uri = neon.connection_uri(project, "shop", "exzodb_owner").uri
    assert uri.startswith("postgresql://exzodb_owner:"), uri
    neon.database_delete(project, branch, "shop")
    settle(neon, project)
    neon.role_delete(project, branch, "app")
    settle(neon, project)


def main():
    base, key = sys.argv[1:3]
    neon = Recorder(NeonAPI(key, base_url=base))
    account(neon)
    project = projects(neon)
    permissions(neon, project)
    main_branch, branch = branches(neon, project)
    endpoint = endpoints(neon, project, main_branch, branch)
    roles_and_databases(neon, project, main_branch)
    first = neon.operations(project, limit=1).operations[0]
    assert neon.operation(project, first.id).operation.id == first.id
    neon.endpoint_delete(project, endpoint)
    settle(neon, project)
    neon.branch_delete(project, branch)
    settle(neon, project)
    neon.project_delete(project)
    assert repr(neon.client) and NeonAPI.from_environ.__doc__
    missing = calls_of_the_client() - neon.made - {"from_environ"}
    if missing:
        raise SystemExit(f"calls of the client that were not made: {sorted(missing)}")
    print(f"{len(neon.made)} calls of neon-api: all pass")


main()
