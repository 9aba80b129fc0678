import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";

import { datasetsQuery } from "./offers";
import type { FileObject } from "./types";
import { uploadDataset } from "./upload";

/** An upload with its progress, 0 to 1, that can be ended. */
export function useUpload(onDone: (file: FileObject) => void) {
  const client = useQueryClient();
  const [share, setShare] = useState(0);
  const running = useRef<AbortController>(null);
  const { mutate, isPending, error, variables } = useMutation({
    mutationFn: (file: File) => {
      setShare(0);
      running.current = new AbortController();
      return uploadDataset(file, setShare, running.current.signal);
    },
    onSuccess: (file) => {
      client.setQueryData(["file", file.id], file);
      void client.invalidateQueries({ queryKey: datasetsQuery.queryKey.slice(0, 1) });
      onDone(file);
    },
  });
  const ended = error instanceof DOMException && error.name === "AbortError";
  return {
    start: mutate,
    stop: () => running.current?.abort(),
    isPending,
    share,
    error: ended ? null : error,
    name: variables?.name ?? "",
  };
}
