import type { ReactNode } from "react";

import { Failure } from "./Notice";

interface LoadedProps<Data> {
  query: { data: Data | undefined; failureReason: unknown };
  children: (data: Data) => ReactNode;
}

/** The content of a section once its data are there. Before that, it says that they are being read or why they are not. */
export function Loaded<Data>({ query: { data, failureReason }, children }: LoadedProps<Data>) {
  if (data !== undefined) return children(data);
  if (failureReason != null) return <Failure error={failureReason} />;
  return <p className="px-4 pb-4 text-muted">Reading…</p>;
}
