{{/* Fields of every pod: no rights, no token of the cluster, and where it runs. Takes root and values. */}}
{{- define "tunery.podFields" -}}
automountServiceAccountToken: false
enableServiceLinks: false
shareProcessNamespace: true # so that the pod's pause process reaps what dead trainers leave
{{- with .root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- range $field := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" }}
{{- with get $.values $field }}
{{ $field }}: {{- if kindIs "string" . }} {{ . }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What a container may do. */}}
{{- define "tunery.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What libraries keep below HOME, which the images set to /var/lib/tunery: kernels and downloads. */}}
{{- define "tunery.caches" -}}
cache: .cache
nv-cache: .nv
triton-cache: .triton
{{- end -}}

{{/* Refuses a grace that is too short. Takes where the value is, values, and the seconds that it needs. */}}
{{- define "tunery.checkGrace" -}}
{{- $needs := add .needs (.values.preStopSeconds | default 0) | int -}}
{{- if lt (int .values.terminationGracePeriodSeconds) $needs -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: it needs at least %d seconds to stop" .where $needs) }}
{{- end -}}
{{- end -}}

{{/* Where a container can write. Takes root and values. */}}
{{- define "tunery.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: home
  mountPath: /var/lib/tunery
{{- range $name, $folder := include "tunery.caches" . | fromYaml }}
- name: {{ $name }}
  mountPath: /var/lib/tunery/{{ $folder }}
{{- end }}
- name: rows
  mountPath: /var/lib/tunery/rows
{{- if .values.sharedMemory }}
- name: shared-memory
  mountPath: /dev/shm
{{- end }}
{{- if .root.Values.catalog }}
- name: catalog
  mountPath: /etc/tunery
  readOnly: true
{{- end }}
{{- with .values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volumes of these mounts. Rows and caches lie on the node's disk, also where the home is shared. */}}
{{- define "tunery.volumes" -}}
- name: tmp
  emptyDir: {}
{{- range $name, $_ := include "tunery.caches" . | fromYaml }}
- name: {{ $name }}
  emptyDir: {}
{{- end }}
- name: rows
  emptyDir: {}
- name: home
{{- if .root.Values.home.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .root.Values.home.existingClaim }}
{{- else }}
  emptyDir: {}
{{- end }}
{{- with .values.sharedMemory }}
- name: shared-memory
  emptyDir:
    medium: Memory
    sizeLimit: {{ . }}
{{- end }}
{{- if .root.Values.catalog }}
- name: catalog
  configMap:
    name: {{ .root.Release.Name }}-catalog
{{- end }}
{{- with .values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Memory, processors and devices of a container. Takes values, and the number of devices. */}}
{{- define "tunery.resources" -}}
{{- $devices := dict -}}
{{- if .values.gpuResource }}{{- $_ := set $devices .values.gpuResource .devices }}{{- end -}}
requests: {{- toYaml (.values.resources.requests | default dict) | nindent 2 }}
limits: {{- toYaml (merge $devices (.values.resources.limits | default dict)) | nindent 2 }}
{{- end -}}
