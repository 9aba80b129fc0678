{{/*
How much there is to do for workers of a device class: its running jobs, and those of its waiting jobs that the
limits of their projects let run. With `tasks`, open tasks and due webhooks count as one job together, because
one worker does several of them at once. A task that follows a job lasts as long as the job, so it is left out.
*/}}
{{- define "tunery.workQuery" -}}
SELECT greatest(
  (SELECT coalesce(sum(least(queued, coalesce(greatest(cap - running, 0), queued)) + training), 0)
   FROM (SELECT count(*) FILTER (WHERE jobs.status = 'queued' AND jobs.devices = {{ .devices }}) AS queued,
                count(*) FILTER (WHERE jobs.status = 'running' AND jobs.devices = {{ .devices }}) AS training,
                count(*) FILTER (WHERE jobs.status = 'running') AS running,
                coalesce(projects.max_running_jobs, {{ .projectJobs | default "NULL" }}) AS cap
         FROM jobs JOIN projects ON projects.id = jobs.project_id
         WHERE jobs.status = 'queued' OR jobs.status = 'running'
         GROUP BY projects.id) AS each_project)
  {{- if .tasks }},
  (SELECT 1 WHERE EXISTS (
     SELECT FROM tasks
     WHERE finished_at IS NULL AND kind <> 'tracking'
       AND (status = 'running' OR held_until IS NULL OR held_until <= now()))),
  (SELECT 1 WHERE EXISTS (SELECT FROM webhook_deliveries WHERE next_attempt_at <= now()))
  {{- end }}
)::bigint
{{- end -}}

{{/*
How much there is to do for servers: answers that they write or that wait there, and runs of evals, which wait
until there is a server.
*/}}
{{- define "tunery.answersQuery" -}}
SELECT ((SELECT coalesce(sum(running + waiting), 0) FROM servers WHERE expires_at > now())
  + (SELECT count(*) FROM tasks WHERE finished_at IS NULL AND kind = 'evalrun'))::bigint
{{- end -}}

{{/* A ScaledObject. Takes root, program, name, the values of this program, target (its kind) and the query. */}}
{{- define "tunery.scaledObject" -}}
{{- $component := printf "%s-%s" .program .name -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .root.Release.Name }}-{{ $component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "tunery.labels" (dict "root" .root "component" $component "program" .program) | nindent 4 }}
spec:
  scaleTargetRef: {{- .target | nindent 4 }}
    name: {{ .root.Release.Name }}-{{ $component }}
  minReplicaCount: {{ .values.autoscaling.min }}
  maxReplicaCount: {{ .values.autoscaling.max }}
  pollingInterval: {{ .values.autoscaling.pollingSeconds }}
  cooldownPeriod: {{ .values.autoscaling.cooldownSeconds }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: {{ .values.autoscaling.cooldownSeconds }}
  triggers:
    - type: postgresql
      metadata:
        query: |-
          {{- .query | nindent 10 }}
        targetQueryValue: {{ .values.autoscaling.target | quote }}
        activationTargetQueryValue: "0"
      authenticationRef:
        name: {{ .root.Release.Name }}-database
    {{- with .values.autoscaling.triggers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
