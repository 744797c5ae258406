"""The sections and keys of Luigi 3.8.1 itself, so that a misspelt one is told rather than ignored.

Taken from the parameters of `luigi.Config` classes and the reads of `luigi.configuration` in that version.
"""

# Sections that Luigi or its contrib modules read. Their keys are Luigi's business, but for KEYS below.
_SECTIONS = """
    DEFAULT core cors worker scheduler retcode task_history logging resources email batch_email
    batch-notifier execution_summary parameter_visibility smtp sendgrid datadog prometheus elasticsearch
    hadoop hadoopcli hdfs webhdfs hive kubernetes mssql mysql pig postgres presto pyspark_runner redis
    redshift s3 salesforce scalding spark sqlalchemy upstream OpenPai azureblob bigquery dropbox gcs snakebite
"""
SECTIONS = frozenset(_SECTIONS.split())

_CORE = """
    autoload_range no_configure_logging
    local_scheduler scheduler_host scheduler_port scheduler_url default_scheduler_host default_scheduler_port
    default_scheduler_url lock_size no_lock lock_pid_dir take_lock workers logging_conf_file log_level module
    parallel_scheduling parallel_scheduling_processes assistant help help_all
    rpc_connect_timeout rpc_retry_attempts rpc_retry_wait rpc_log_retries
    worker_ping_interval worker_keep_alive worker_count_uniques worker_wait_interval worker_max_reschedules
    worker_timeout worker_task_limit retry_external_tasks
    email_type email_prefix error_email email_sender hdfs_tmp_dir
    smtp_host smtp_local_hostname smtp_without_tls smtp_password smtp_port smtp_ssl smtp_timeout smtp_login
"""
_WORKER = """
    id ping_interval keep_alive count_uniques count_last_scheduled wait_interval wait_jitter
    max_keep_alive_idle_duration max_reschedules timeout task_limit retry_external_tasks send_failure_email
    no_install_shutdown_handler check_unfulfilled_deps check_complete_on_run force_multiprocessing
    task_process_context cache_task_completion
"""
_SCHEDULER = """
    retry_delay remove_delay worker_disconnect_delay state_path batch_emails disable_window retry_count
    disable_hard_timeout disable_persist max_shown_tasks max_graph_nodes record_task_history prune_on_get_work
    pause_enabled send_messages metrics_collector metrics_custom_import stable_done_cooldown_secs
"""
_RETCODE = "unhandled_exception missing_data task_failed already_running scheduling_error not_run"

# Every key of these sections, in its form with underscores (Luigi accepts dashes as well).
KEYS = {
    "core": frozenset(_CORE.split()),
    "worker": frozenset(_WORKER.split()),
    "scheduler": frozenset(_SCHEDULER.split()),
    "retcode": frozenset(_RETCODE.split()),
}
