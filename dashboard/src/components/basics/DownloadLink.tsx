import { Icon } from "./Icon";

/** A link that downloads. Several of them stand below each other, so a screen reader also reads the `name`. */
export function DownloadLink({ href, name }: { href: string; name: string }) {
  return (
    <a href={href} download className="link inline-flex items-center gap-1" aria-label={`Download ${name}`}>
      <Icon name="download" />
      Download
    </a>
  );
}
