{{/* How much there is to do for workers. `tunery slurm` runs the same statement. Takes root, devices, tasks and projectJobs. */}}
{{- define "tunery.workQuery" -}}
{{- $query := .root.Files.Get "queries/work.sql" | regexFind "SELECT(?s:.*)" | trim -}}
{{- if not $query }}{{ fail "queries/work.sql is missing: it is a link to cli/slurm/work.sql" }}{{ end -}}
{{- $query = $query | replace ":devices" (toString .devices) | replace ":tasks" (toString .tasks) -}}
{{- $query = $query | replace ":running" "true" -}}
{{- $query | replace ":project_jobs" (toString (.projectJobs | default "NULL")) -}}
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
