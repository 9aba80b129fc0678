-- How much there is to do for workers of a device class: those of its waiting jobs that the limits of their projects
-- let run and, with `running`, its running jobs. With `tasks`, tasks and due webhooks count as one job together, because
-- one worker does several of them at once. A task that follows a job lasts as long as the job, so it is left out.
-- `tunery slurm` asks this by its parameters. The Helm chart writes their values into it, for KEDA.
SELECT greatest(
  (SELECT coalesce(sum(CASE WHEN :running THEN training ELSE 0 END
                       + CASE WHEN cap < running + queued THEN greatest(cap - running, 0) ELSE queued END), 0)
   FROM (SELECT count(*) FILTER (WHERE jobs.status = 'queued' AND jobs.devices = :devices) AS queued,
                count(*) FILTER (WHERE jobs.status = 'running' AND jobs.devices = :devices) AS training,
                count(*) FILTER (WHERE jobs.status = 'running') AS running,
                coalesce(projects.max_running_jobs, CAST(:project_jobs AS integer)) AS cap
         FROM jobs JOIN projects ON projects.id = jobs.project_id
         WHERE jobs.status = 'queued' OR jobs.status = 'running'
         GROUP BY projects.id) AS each_project),
  (SELECT 1 WHERE :tasks AND EXISTS (
     SELECT FROM tasks
     WHERE finished_at IS NULL AND kind <> 'tracking'
       AND (:running AND status = 'running' OR held_until IS NULL OR held_until <= now()))),
  (SELECT 1 WHERE :tasks AND EXISTS (SELECT FROM webhook_deliveries WHERE next_attempt_at <= now()))
)::bigint
