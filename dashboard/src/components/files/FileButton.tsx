import { useRef } from "react";

import { Icon } from "@/components/basics/Icon";

interface FileButtonProps {
  children: string;
  /** The name of the files for screen readers. */
  label: string;
  primary?: boolean;
  multiple?: boolean;
  accept?: string;
  disabled?: boolean;
  onFiles: (files: readonly File[]) => void;
}

/** A button that opens the browser's dialog for picking files. */
export function FileButton({ children, label, primary, multiple, accept, disabled, onFiles }: FileButtonProps) {
  const picker = useRef<HTMLInputElement>(null);
  return (
    <>
      <button
        type="button"
        className={`button ${primary ? "button-primary" : ""}`}
        disabled={disabled}
        onClick={() => picker.current?.click()}
      >
        <Icon name="up" />
        {children}
      </button>
      <input
        ref={picker}
        type="file"
        hidden
        multiple={multiple}
        accept={accept}
        aria-label={label}
        disabled={disabled}
        onChange={({ target }) => {
          onFiles([...(target.files ?? [])]);
          target.value = ""; // so that the same file can be corrected and picked again
        }}
      />
    </>
  );
}
