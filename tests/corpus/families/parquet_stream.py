"""A Parquet file read by row groups: added up and dropped, or a part of each kept until the end of the file."""
import numpy, os, pyarrow, pyarrow.compute, pyarrow.parquet, random, tempfile, time
path = os.path.join(tempfile.mkdtemp(), "table.parquet")
def group():
    return pyarrow.table({f"c{i}": numpy.random.rand(GROUP_ROWS) for i in range(10)})
with pyarrow.parquet.ParquetWriter(path, group().schema, compression="none") as writer:
    for _ in range(GROUPS):
        writer.write_table(group())
time.sleep(random.uniform(5, 15))
while True:
    file, kept, total = pyarrow.parquet.ParquetFile(path), [], 0.0
    for number in range(file.num_row_groups):
        table = file.read_row_group(number)
        total += pyarrow.compute.sum(table["c0"]).as_py()
        if KEPT_SHARE > 0:
            kept.append(table.filter(pyarrow.compute.less(table["c1"], KEPT_SHARE)))
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
    del table
    if kept:
        frame = pyarrow.concat_tables(kept).to_pandas()
        time.sleep(random.uniform(10, 30))
        del frame, kept
    time.sleep(random.uniform(5, 20))
