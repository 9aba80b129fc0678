{{/* How many machines train together. */}}
{{- define "tunery.nodes" -}}
{{ dig "group" "size" 1 . }}
{{- end -}}

{{/* The pod of a worker, alone or in a group. Takes root, the worker's name and its values. */}}
{{- define "tunery.workerPod" -}}
{{- $nodes := include "tunery.nodes" .values | int -}}
{{- $devices := int .values.devices -}}
{{- if mod $devices $nodes }}
{{- fail (printf "workers.%s: its %d devices cannot be divided evenly among %d machines" .name $devices $nodes) }}
{{- end -}}
{{- include "tunery.checkGrace" (dict "where" (printf "workers.%s" .name) "values" .values "needs" 65) -}}
{{- $defaults := include "tunery.serving" .root | fromYaml -}}
{{- $_ := set $defaults "TUNERY_DEVICES" $devices -}}
{{- with .values.metrics.port -}}
{{- $_ := mergeOverwrite $defaults (dict "TUNERY_METRICS_HOST" "0.0.0.0" "TUNERY_WORKER_METRICS_PORT" .) -}}
{{- end -}}
{{- if gt $nodes 1 -}}
{{- $_ := set $defaults "TUNERY_NODES" $nodes -}}
{{- $_ := set $defaults "TUNERY_RENDEZVOUS" (printf "$(LWS_LEADER_ADDRESS):%d" (int .values.group.port)) -}}
{{- end -}}
metadata:
  labels: {{- include "tunery.selector" (dict "root" .root "component" (printf "worker-%s" .name) "program" "worker") | nindent 4 }}
spec:
  {{- include "tunery.podFields" (dict "root" .root "values" .values) | nindent 2 }}
  terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
  containers:
    # It has no probe: a worker that hangs loses its leases, and its supervisor restarts the trainer.
    - name: worker
      image: {{ include "tunery.image" (dict "root" .root "image" .root.Values.images.worker) }}
      imagePullPolicy: {{ .root.Values.imagePullPolicy }}
      args: [worker]
      env:
        {{- include "tunery.env" (dict "root" .root "values" .values "defaults" $defaults "needs" (list "broker" "keys" "hub")) | nindent 8 }}
        {{- if gt $nodes 1 }}
        - name: TUNERY_NODE_RANK
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['leaderworkerset.sigs.k8s.io/worker-index']
        {{- end }}
      ports:
        - name: chats
          containerPort: {{ .root.Values.chatPort }}
        {{- with include "tunery.metricsPort" . }}{{ . | nindent 8 }}{{ end }}
      resources: {{- include "tunery.resources" (dict "values" .values "devices" (div $devices $nodes)) | nindent 8 }}
      securityContext: {{- include "tunery.containerSecurity" . | nindent 8 }}
      volumeMounts: {{- include "tunery.volumeMounts" . | nindent 8 }}
  volumes: {{- include "tunery.volumes" . | nindent 4 }}
{{- end -}}
