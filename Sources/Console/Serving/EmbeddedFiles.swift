/// The templates and static files as the build put them into the program.
enum EmbeddedFiles {
  static let pages: [String: [UInt8]] = [
    "backups": PackageResources.backups_mustache,
    "billing": PackageResources.billing_mustache,
    "branch": PackageResources.branch_mustache,
    "branches": PackageResources.branches_mustache,
    "compute": PackageResources.compute_mustache,
    "dashboard": PackageResources.dashboard_mustache,
    "error": PackageResources.error_mustache,
    "frame": PackageResources.frame_mustache,
    "guide": PackageResources.guide_mustache,
    "help": PackageResources.help_mustache,
    "keys": PackageResources.keys_mustache,
    "monitoring": PackageResources.monitoring_mustache,
    "operation-rows": PackageResources.operation_rows_mustache,
    "operations": PackageResources.operations_mustache,
    "problem": PackageResources.problem_mustache,
    "projects": PackageResources.projects_mustache,
    "roles": PackageResources.roles_mustache,
    "settings": PackageResources.settings_mustache,
    "signin": PackageResources.signin_mustache,
    "sql": PackageResources.sql_mustache,
    "time": PackageResources.time_mustache,
    "timeline": PackageResources.timeline_mustache,
  ]

  static let statics: [String: [UInt8]] = [
    "app.js": PackageResources.app_js,
    "base.js": PackageResources.base_js,
    "console.css": PackageResources.console_css,
    "forms.js": PackageResources.forms_js,
    "mark.svg": PackageResources.mark_svg,
    "past.js": PackageResources.past_js,
    "plan.js": PackageResources.plan_js,
    "retention.js": PackageResources.retention_js,
    "schedule.js": PackageResources.schedule_js,
    "sql.js": PackageResources.sql_js,
    "theme.js": PackageResources.theme_js,
    "timeline.js": PackageResources.timeline_js,
  ]
}
