import type { ReactNode } from "react";

/** Settings by their path in a job's request, such as `adapter.r`, one on each line. */
export function SettingList({ settings }: { settings: readonly (readonly [path: string, value: ReactNode])[] }) {
  return (
    <dl>
      {settings.map(([path, value]) => (
        <div key={path} className="flex justify-between gap-4 border-t border-line px-4 py-1 font-mono text-xs">
          <dt className="break-all text-muted">{path}</dt>
          <dd className="text-right break-all">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
