import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo } from "react";

import { hasEnded } from "@/lib/facts/jobFacts";
import type { Job } from "@/types/api";

import { LiveJob } from "./liveJob";

/** Follows the job while the tab is visible. A hidden tab asks for nothing. */
export function useLiveJob(id: string): LiveJob {
  const client = useQueryClient();
  const live = useMemo(() => {
    const readAgain = () => {
      const known = client.getQueryData<Job>(["job", id]);
      if (known && hasEnded(known)) return; // its stream only repeats what is known
      for (const of of ["job", "checkpoints"]) void client.invalidateQueries({ queryKey: [of, id] });
    };
    return new LiveJob(id, readAgain);
  }, [client, id]);
  useEffect(() => {
    const follow = () => (document.hidden ? live.stop() : live.start());
    follow();
    document.addEventListener("visibilitychange", follow);
    return () => {
      document.removeEventListener("visibilitychange", follow);
      live.stop();
    };
  }, [live]);
  return live;
}
